gradus inspect models/linear_regression.json --stage kernels --program predict --isa x86-64 > step.kernel
sed -i 's/= add f32/= sum f32/' step.kernel
gradus opt step.kernel
