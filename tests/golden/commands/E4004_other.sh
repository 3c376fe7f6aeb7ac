gradus compile models/spirals_mlp.json -o spirals.so --isa aarch64 --linker false
