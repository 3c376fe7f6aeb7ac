"""How many drawings of digits a classifier of real ones recognises.

Usage: build/peers/bin/python bench/quality/recognised.py GRADUS DRAWINGS WEIGHTS [KEY=VALUE ...]
DRAWINGS is what `gradus predict` wrote for a generator, WEIGHTS those of models/lenet5.json, trained
on the real ones; the values are those of that training, such as where real ones are. A drawing is
recognised when the classifier gives one class a probability of at least 0.9; shares at other
thresholds, and of each class among the recognised, are told too, and the same of real drawings.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "peers"))
import tensors

MODEL = pathlib.Path(__file__).resolve().parents[2] / "models/lenet5.json"


def probabilities(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def classify(gradus: str, weights: str, folder: pathlib.Path, *settings: str) -> np.ndarray:
    output = folder / "logits.safetensors"
    options = [word for setting in settings for word in ("--set", setting)]
    subprocess.run([gradus, "predict", str(MODEL), *options, "--weights", weights, "-o",
                    str(output), "--threads", "1"], check=True, stdout=subprocess.DEVNULL)
    return probabilities(tensors.read(output)["logits"])


def report(what: str, p: np.ndarray) -> None:
    best, classes = p.max(axis=1), p.argmax(axis=1)
    shares = ", ".join(f"{100 * (best >= least).mean():.1f} % with at least {least}"
                       for least in (0.5, 0.9, 0.99))
    print(f"{what}: of {len(p)} the classifier gives {shares}")
    counts = np.bincount(classes[best >= 0.9], minlength=p.shape[1])
    print(f"  classes of the recognised: {' '.join(map(str, counts))}; the rarest has "
          f"{100 * counts.min() / max(counts.sum(), 1):.1f} %")


def main() -> None:
    gradus, drawings, weights, *settings = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (drawn,) = tensors.read(pathlib.Path(drawings)).values()
        tensors.write(folder / "drawn.safetensors",
                      {"image": drawn, "label": np.zeros(len(drawn), np.int32)})
        data = f'data={{"source": "tensors", "file": "{folder}/drawn.safetensors"}}'
        report("drawn", classify(gradus, weights, folder, data))
        report("real", classify(gradus, weights, folder, *settings))


if __name__ == "__main__":
    main()
