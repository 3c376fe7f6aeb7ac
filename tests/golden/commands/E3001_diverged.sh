gradus train models/linear_regression.json --set optimizer.learning_rate=1e6 --json > log
