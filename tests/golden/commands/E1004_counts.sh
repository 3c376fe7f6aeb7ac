mkdir mnist
for part in train t10k; do
  printf '\0\0\010\003\0\0\0\001\0\0\0\001\0\0\0\002ab' > mnist/$part-images-idx3-ubyte
  printf '\0\0\010\001\0\0\0\003abc' > mnist/$part-labels-idx1-ubyte
done
gradus train models/mnist_mlp.json --set data.directory=mnist
