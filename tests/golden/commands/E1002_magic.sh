mkdir mnist
for name in train-images-idx3 train-labels-idx1 t10k-images-idx3 t10k-labels-idx1; do
  printf 'hello' > mnist/$name-ubyte
done
gradus train models/mnist_mlp.json --set data.directory=mnist
