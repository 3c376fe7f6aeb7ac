gradus compile models/spirals_mlp.json -o spirals.o --isa x86-64-v3,aarch64
