set="--set training.epochs=null --set training.steps=1 --set data.examples=64 --set data.test_examples=0"
gradus train models/transformer_reverse.json $set --json > log
gradus generate models/transformer_reverse.json $set --prompt 1 --source "3 20"
