gradus train models/no_such_model.json
