sed 's/"x": "f32\[1\]"/"x": "f32[3]"/' models/linear_regression.json > model.json
gradus train model.json
