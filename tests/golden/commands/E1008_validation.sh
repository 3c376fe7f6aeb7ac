gradus train models/linear_regression.json --set data.examples=2 --set data.validation=0.9
