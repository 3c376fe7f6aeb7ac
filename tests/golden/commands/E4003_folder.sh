touch file
gradus train models/linear_regression.json -o file/run
