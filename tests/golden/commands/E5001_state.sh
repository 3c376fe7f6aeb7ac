ulimit -v 1200000
gradus train models/linear_regression.json --threads 1 --set model.blocks='{"wide":{"layers":[{"layer":"dense","units":8000}]}}' --set model.layers='[{"block":"wide","from":"x","repeat":7},{"layer":"dense","units":1,"name":"line"}]' --json > log
