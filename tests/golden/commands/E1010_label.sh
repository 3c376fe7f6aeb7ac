header='{"x":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},"y":{"dtype":"I64","shape":[1,1],"data_offsets":[4,12]}}'
printf "\\$(printf %o ${#header})\0\0\0\0\0\0\0%s\0\0\0\0\054\001\0\0\0\0\0\0" "$header" > data.safetensors
cat > model.json <<'JSON'
{
  "gradus": 1,
  "name": "bytes",
  "data": { "source": "tensors", "file": "data.safetensors" },
  "model": {
    "inputs": { "x": "f32[1]", "y": "u8[1]" },
    "layers": [
      { "layer": "dense", "from": "x", "units": 1, "name": "line" },
      { "op": "cast", "from": "y", "element": "f32", "name": "target" }
    ]
  },
  "loss": { "function": "mean_squared_error", "predictions": "line", "targets": "target" },
  "optimizer": { "method": "sgd" },
  "training": { "steps": 1, "batch": 1 }
}
JSON
gradus train model.json --json > log
