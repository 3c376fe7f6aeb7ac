ulimit -v 1200000
gradus train models/linear_regression.json --threads 1 --set model.layers='[{"layer":"dense","from":"x","units":130000000,"name":"wide"},{"layer":"dense","units":1,"name":"line"}]'
