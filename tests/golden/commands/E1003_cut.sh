mkdir mnist
(printf '\0\0\010\003\0\0\0\001\0\0\0\034\0\0\0\034'; head -c 784 /dev/zero) | gzip | head -c -8 > mnist/train-images-idx3-ubyte.gz
gradus train models/mnist_mlp.json --set data.directory=mnist
