printf '%0200d%0200d' 0 1 > text
set="--set training.epochs=null --set training.steps=1 --set data.file=text"
gradus train models/char_lstm.json $set --set data.tokens=bytes --set model.layers.0.input_dim=256 --json > log
gradus generate models/char_lstm.json $set --set model.layers.0.input_dim=256 --prompt 0
