"""The error of PCA on MNIST's test images, beside which autoencoders of the same width stand.

Usage: build/peers/bin/python bench/quality/pca.py FOLDER WIDTH... (peers/setup makes that Python).
FOLDER has MNIST's four files, plain or .gz. Components are those of the training images, pixels are
numbers from 0 to 1, and the error is the mean squared difference per pixel of the test images from
what their first WIDTH coordinates restore: what the metric mean_squared_error tells of a model.
"""

import gzip
import pathlib
import sys

import numpy as np


def images(folder: pathlib.Path, name: str) -> np.ndarray:
    plain, packed = folder / name, folder / f"{name}.gz"
    data = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    count, rows, columns = np.frombuffer(data, ">i4", 3, 4)
    return np.frombuffer(data, np.uint8, offset=16).reshape(count, rows * columns) / 255


def main() -> None:
    folder, widths = pathlib.Path(sys.argv[1]), [int(width) for width in sys.argv[2:]]
    train, test = (images(folder, f"{name}-images-idx3-ubyte") for name in ("train", "t10k"))
    mean = train.mean(axis=0)
    covariance = (train - mean).T @ (train - mean) / len(train)
    values, vectors = np.linalg.eigh(covariance)  # ascending
    print(f"width 0: {np.square(test - mean).mean():.5f}, the mean image")
    for width in widths:
        axes = vectors[:, len(values) - width:]
        left = (test - mean) - (test - mean) @ axes @ axes.T
        kept = values[len(values) - width:].sum() / values.sum()
        print(f"width {width}: {np.square(left).mean():.5f}, keeps {100 * kept:.1f} % of the "
              "training images' variance")


if __name__ == "__main__":
    main()
