gradus compile models/spirals_mlp.json -o spirals.so --linker no-such-compiler
