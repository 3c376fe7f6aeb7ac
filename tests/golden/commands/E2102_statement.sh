gradus inspect models/linear_regression.json --stage kernels --program predict --isa x86-64 > step.kernel
sed -i 's/^  contract/  contrast/' step.kernel
gradus opt step.kernel
