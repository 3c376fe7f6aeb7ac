gradus compile models/digits_mlp.json --threads 1 --isa x86-64 --memory 4M --batch 16,2048 -o digits.o
