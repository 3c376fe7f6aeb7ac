: > model.json
gradus train model.json
