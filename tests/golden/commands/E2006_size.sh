gradus train models/digits_mlp.json --memory 12Q
