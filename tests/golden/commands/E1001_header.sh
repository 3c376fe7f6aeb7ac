printf '\012\0\0\0\0\0\0\0{"a": 1}  ' > weights.safetensors
gradus evaluate models/linear_regression.json --weights weights.safetensors
