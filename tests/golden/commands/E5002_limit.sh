gradus train models/digits_mlp.json --threads 1 --isa x86-64 --memory 4M --set training.batch=2048
