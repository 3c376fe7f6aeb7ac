gradus train models/digits_mlp.json --set training.epochs=1 --set data.examples=200 > /dev/null 2>&1
gradus predict models/digits_mlp.json --threads 1 --isa x86-64 --memory 3M --set training.batch=2048
