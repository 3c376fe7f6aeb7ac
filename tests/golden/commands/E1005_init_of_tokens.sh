printf '%0200d%0200d' 0 1 > text
printf '%0200d%0200d' 0 2 > other
set="--set training.epochs=null --set training.steps=1"
gradus train models/char_lstm.json $set --set data.file=text --json > log
gradus train models/char_lstm.json $set --set data.file=other --json -o second \
    --init run/weights.safetensors --init-of memory > log 2>&1 || cat log
gradus train models/char_lstm.json $set --set data.file=other -o second \
    --init run/weights.safetensors --init-of memory,logits
