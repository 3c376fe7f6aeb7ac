gradus train models/linear_regression.json --set training.steps=1 --json > log
gradus train models/linear_regression.json --init run/weights.safetensors --init-of lien,line --json > log
