gradus compile models/linear_regression.json -o step.txt
