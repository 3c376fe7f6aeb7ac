gradus train models/linear_regression.json --set training.steps=1 --json > log
gradus evaluate models/logistic_regression.json --weights run/weights.safetensors
