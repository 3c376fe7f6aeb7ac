gradus train models/linear_regression.json --set training.steps=1 --json > log
gradus train models/linear_regression.json --set training.steps=2 --seed 9 --resume --json > log
