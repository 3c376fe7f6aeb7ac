gradus inspect models/linear_regression.json --dot
