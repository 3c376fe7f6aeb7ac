gradus compile models/spirals_mlp.json -o spirals.o --name 2-spirals
