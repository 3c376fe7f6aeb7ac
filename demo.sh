#!/bin/bash
# Sets up, builds, and trains a network that learns to read drawn digits.
# Usage: ./demo.sh [MODEL.json [arguments of gradus train]]
set -euo pipefail
cd "$(dirname "$0")"
tools/setup
tools/build release gradus

model=models/digits_mlp.json
if [ $# -gt 0 ]; then
  model=$1
  shift
fi
build/release/gradus train "$model" -o "build/demo/$(basename "$model" .json)" "$@"

cat <<END

Now try:
  the layers:           build/release/gradus inspect $model
  what was fused, why:  build/release/gradus inspect $model --stage fusion
  another network:      build/release/gradus train models/spirals_mlp.json
END
