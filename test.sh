#!/bin/bash
# Sets up, builds everything and runs every test. Usage: ./test.sh [arguments of ctest]
set -euo pipefail
cd "$(dirname "$0")"
tools/setup
tools/build release
ctest --preset release --parallel "$(nproc)" "$@"
