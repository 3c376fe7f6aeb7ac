"""Writes a subject's inputs, data.safetensors, or its first parameters, initial.safetensors.

Usage: prepare.py SUBJECT FOLDER data|initial. For the parameters of a model, FOLDER holds
weights.safetensors of any training of it, which tells names and shapes; all values are drawn anew.
"""

import math
import pathlib
import sys

import numpy as np

import tensors
from subjects import SUBJECTS

ONES = ("gamma", "variance")


def drawn(random: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """He et al. 2015 for kernels that a relu may follow, LeCun et al. 1998 for those within layers;
    embeddings are small, scales and variances are 1, all else is 0."""
    deviations = {"/kernel": math.sqrt(2 / math.prod(shape[:-1])),
                  "_kernel": math.sqrt(1 / math.prod(shape[:-1])), "/embeddings": 0.1}
    for ending, deviation in deviations.items():
        if name.endswith(ending):
            return random.normal(0, deviation, shape).astype(np.float32)
    return np.full(shape, float(name.endswith(ONES)), np.float32)


def main() -> None:
    subject = next(s for s in SUBJECTS if s.name == sys.argv[1])
    folder = pathlib.Path(sys.argv[2])
    random = np.random.default_rng(20)
    inputs = subject.inputs(random)
    if sys.argv[3] == "data" or subject.parameters:
        tensors.write(folder / "data.safetensors", inputs)
    if sys.argv[3] == "data":
        return
    if subject.parameters:
        initial = subject.parameters(random)
    else:
        known = tensors.read(folder / "weights.safetensors")
        initial = {name: drawn(random, name, known[name].shape) for name in sorted(known)}
    tensors.write(folder / "initial.safetensors", initial)


main()
