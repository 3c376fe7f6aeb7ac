sed 's/"units": 3/"units": 2/' models/spirals_mlp.json > model.json
gradus train model.json --json > log
