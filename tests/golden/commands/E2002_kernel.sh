gradus inspect models/linear_regression.json --stage code --kernel nothing
