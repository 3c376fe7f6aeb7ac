printf '%0200d%0200d' 0 1 > text
set="--set training.epochs=null --set training.steps=1 --set data.file=text"
gradus train models/char_lstm.json $set --json > log
gradus train models/char_lstm.json $set --set data.tokens=bytes --init run/weights.safetensors \
    -o other --json
