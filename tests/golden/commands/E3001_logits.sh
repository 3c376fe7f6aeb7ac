printf '%0200d%0200d' 0 1 > text
cat > model.json <<'MODEL'
{
  "gradus": 1,
  "data": { "source": "text", "file": "text", "length": 8 },
  "model": {
    "inputs": { "text": "i32[8]", "next": "i32[8]" },
    "layers": [
      { "layer": "embedding", "from": "text", "input_dim": 2, "output_dim": 4 },
      { "layer": "dense", "units": 2, "name": "logits" },
      { "op": "log", "name": "logarithm" }
    ]
  },
  "loss": { "function": "sparse_categorical_cross_entropy", "logits": "logits", "labels": "next" },
  "optimizer": { "method": "sgd" },
  "training": { "steps": 1, "seed": 1 }
}
MODEL
gradus train model.json --json > log
gradus generate model.json --set loss.logits=logarithm --prompt 0
