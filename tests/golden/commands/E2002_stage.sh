gradus inspect models/linear_regression.json --stage kernles
