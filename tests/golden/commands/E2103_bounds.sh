gradus inspect models/linear_regression.json --stage kernels --program predict --isa x86-64 > step.kernel
sed -i 's/in "line\/bias" : f32\[1\]/in "line\/bias" : f32[0]/' step.kernel
gradus opt step.kernel
