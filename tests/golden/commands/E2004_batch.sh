gradus compile models/linear_regression.json -o line.o
