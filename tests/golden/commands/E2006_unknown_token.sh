printf '%0200d%0200d' 0 1 > text
set="--set training.epochs=null --set training.steps=1"
gradus train models/char_lstm.json $set --set data.file=text --json > log
gradus generate models/char_lstm.json $set --prompt "1 65" \
    --set 'data={"source": "tensors", "file": "none", "shuffle": false}'
