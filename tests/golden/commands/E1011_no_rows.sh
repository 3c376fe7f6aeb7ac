header='{"x":{"dtype":"F32","shape":[0,1],"data_offsets":[0,0]},"y":{"dtype":"F32","shape":[0,1],"data_offsets":[0,0]}}  '
printf "\\$(printf %o ${#header})\0\0\0\0\0\0\0%s" "$header" > data.safetensors
gradus train models/linear_regression.json --set data='{"source":"tensors","file":"data.safetensors"}'
