cat > division.ir <<'IR'
graph "division"
%0 = batch "x" : i32[4]
%1 = div %0, %0 : i32[4]
"y" = %1
IR
gradus bench division.ir --threads 1
