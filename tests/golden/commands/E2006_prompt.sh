printf '%0200d%0200d' 0 1 > text
set="--set data.file=text --set training.epochs=null --set training.steps=1"
gradus train models/char_lstm.json $set --json > log
gradus generate models/char_lstm.json $set --prompt 0120
