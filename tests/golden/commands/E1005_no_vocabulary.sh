gradus train models/linear_regression.json --set training.steps=1 --json > log
gradus generate models/char_lstm.json --prompt a
