"""What is compared: model files, the same nets for the peers, and their inputs.

A net is written once, in terms of a `Layers` object that PyTorch and JAX each implement with their
own functions. Parameters have the names that Gradus gives them. Nothing heavy is imported here: the
process that starts the others stays small, because a child inherits its peak of memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Array = Any  # of numpy, PyTorch or JAX
Batch = dict[str, Array]
Result = tuple[Array, Array]  # the loss and a metric


@dataclasses.dataclass(frozen=True)
class Subject:
    name: str
    title: str
    file: str  # model or graph, from the root of the repository
    batch: int | str
    inputs: Callable[[np.random.Generator], Batch]  # channels last
    net: Callable[[Any, Batch], Result]  # of layers and a batch
    options: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    # By peer: ways to run it, of which the fastest counts.
    flattened: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    # Dense kernels that follow a flattened image, with its height, width and channels.
    parameters: Callable[[np.random.Generator], Batch] | None = None  # of a graph
    settings: tuple[str, ...] = ()  # of the model file that differ
    whole_steps: int = 0  # a whole process that trains so many steps is timed


LAYOUTS = {peer: ("channels last", "contiguous") for peer in ("eager", "compile")}
GENERATORS = {"compile": ("own random", "eager random"), "jax": ("threefry2x32", "rbg")}

# At the rate of the files, 0.1, these nets amplify rounding so much within five steps that two
# peers' losses differ by a per cent too.
def rate(value: float) -> tuple[str, ...]:
    return (f"optimizer.learning_rate={value}",)


def classified(layers: Any, logits: Array, batch: Batch) -> Result:
    labels = batch["label"]
    return layers.cross_entropy(logits, labels), layers.accuracy(logits, labels)


def mlp(layers: Any, batch: Batch) -> Result:
    x = layers.flatten(batch["image"])
    x = layers.relu(layers.dense("hidden1", x))
    x = layers.relu(layers.dense("hidden2", x))
    return classified(layers, layers.dense("logits", x), batch)


def cnn(layers: Any, batch: Batch) -> Result:
    x = layers.relu(layers.conv("conv1", batch["image"], bias=True))
    x = layers.relu(layers.conv("conv2", x, bias=True))
    x = layers.flatten(layers.max_pool(x, 2, 2, 0))
    x = layers.relu(layers.dense("hidden", x))
    return classified(layers, layers.dense("logits", x), batch)


def normed(layers: Any, name: str, x: Array, stride: int = 1, padding: int = 1) -> Array:
    x = layers.conv(f"{name}/conv2d", x, stride=stride, padding=padding)
    return layers.batch_norm(f"{name}/batch_norm", x, keep=0.9, epsilon=1e-5)


def residual(layers: Any, name: str, x: Array) -> Array:
    y = layers.relu(normed(layers, f"{name}/conv", x))
    return layers.relu(normed(layers, f"{name}/branch", y) + x)


def projected(layers: Any, name: str, x: Array) -> Array:
    y = layers.relu(normed(layers, f"{name}/conv", x, stride=2))
    y = normed(layers, f"{name}/branch", y)
    return layers.relu(y + normed(layers, f"{name}/shortcut", x, stride=2, padding=0))


def resnet20(layers: Any, batch: Batch) -> Result:
    x = layers.relu(normed(layers, "stem", batch["image"]))
    for i in (1, 2, 3):
        x = residual(layers, f"stage1/{i}", x)
    for stage in (2, 3):
        x = projected(layers, f"stage{stage}", x)
        for i in (1, 2):
            x = residual(layers, f"stage{stage}b/{i}", x)
    return classified(layers, layers.dense("logits", layers.global_pool(x)), batch)


def resnet18(layers: Any, batch: Batch) -> Result:
    x = layers.relu(normed(layers, "stem", batch["image"], stride=2, padding=3))
    x = layers.max_pool(x, 3, 2, 1)
    for i in (1, 2):
        x = residual(layers, f"stage1/{i}", x)
    for stage in (2, 3, 4):
        x = projected(layers, f"stage{stage}", x)
        x = residual(layers, f"stage{stage}b", x)
    return classified(layers, layers.dense("logits", layers.global_pool(x)), batch)


def elementwise(layers: Any, batch: Batch) -> Result:
    x, w, b = (layers.parameters[name] for name in "xwb")
    y = layers.layer_norm(x + layers.dropout(layers.gelu(x * w + b), 0.1), 1e-5)
    loss = (y * batch["t"]).mean()
    return loss, loss


def next_token(layers: Any, logits: Array, batch: Batch) -> Result:
    return layers.cross_entropy(logits, batch["next"]), layers.accuracy(logits, batch["next"])


def char_lstm(layers: Any, batch: Batch) -> Result:
    x = layers.lstm("memory", layers.embedding("characters", batch["text"]))
    return next_token(layers, layers.dense("logits", x), batch)


def transformer(layers: Any, name: str, x: Array) -> Array:
    y = layers.scaled_norm(f"{name}/layer_norm", x, 1e-5)
    x = layers.causal_attention(f"{name}/multi_head_attention", y, heads=4) + x
    y = layers.scaled_norm(f"{name}/layer_norm_1", x, 1e-5)
    return layers.dense(f"{name}/dense_1", layers.gelu(layers.dense(f"{name}/dense", y))) + x


def gpt(layers: Any, batch: Batch) -> Result:
    x = layers.embedding("tokens", batch["text"])
    x = x + layers.parameters["positional_embedding/embeddings"]
    for i in (1, 2, 3, 4):
        x = transformer(layers, f"block/{i}", x)
    x = layers.scaled_norm("layer_norm", x, 1e-5)
    return next_token(layers, layers.dense("logits", x), batch)


def line(layers: Any, batch: Batch) -> Result:
    difference = layers.dense("line", batch["x"]) - batch["y"]
    loss = (difference * difference).mean()
    return loss, loss


def images(count: int, *shape: int, classes: int) -> Callable[[np.random.Generator], Batch]:
    return lambda random: {
        "image": random.random((count, *shape), dtype="f4"),
        "label": random.integers(0, classes, count, dtype="i4"),
    }


def texts(count: int, length: int, tokens: int) -> Callable[[np.random.Generator], Batch]:
    def inputs(random: np.random.Generator) -> Batch:
        text = random.integers(0, tokens, (count, length + 1), dtype="i4")
        return {"text": text[:, :-1].copy(), "next": text[:, 1:].copy()}

    return inputs


def points(random: np.random.Generator) -> Batch:
    x = 2 * random.random((1000, 1), dtype="f4") - 1
    return {"x": x, "y": 2 * x + 1 + random.normal(0, 0.1, x.shape).astype("f4")}


def between(random: np.random.Generator, *shape: int) -> Array:
    return 2 * random.random(shape, dtype="f4") - 1


SUBJECTS = [
    Subject(
        name="elementwise",
        title="element-wise graph, 4096 x 1024",
        file="bench/graphs/elementwise.ir",
        batch=4096,
        inputs=lambda random: {"t": between(random, 4096, 1024)},
        parameters=lambda random: {
            "x": between(random, 4096, 1024),
            "w": between(random, 1024),
            "b": between(random, 1024),
        },
        net=elementwise,
        options=GENERATORS,
    ),
    Subject(
        name="mlp",
        title="MLP 784-512-256-10, batch 128, Adam",
        file="models/mnist_mlp.json",
        batch=128,
        inputs=images(128, 28, 28, classes=10),
        net=mlp,
    ),
    Subject(
        name="cnn",
        title="CNN 28 x 28, batch 64, momentum",
        file="models/cnn.json",
        batch=64,
        inputs=images(64, 28, 28, 1, classes=10),
        net=cnn,
        options=LAYOUTS,
        flattened={"hidden/kernel": (12, 12, 64)},
    ),
    Subject(
        name="resnet20",
        title="ResNet-20 32 x 32, batch 64, momentum and decay",
        file="models/resnet20.json",
        batch=64,
        inputs=images(64, 32, 32, 3, classes=10),
        net=resnet20,
        options=LAYOUTS,
        settings=(*rate(0.01), "model.layers.0.padding=0", "model.layers.1.probability=0"),
    ),
    Subject(
        name="resnet18",
        title="ResNet-18 224 x 224, batch 8, momentum and decay",
        file="models/resnet18.json",
        batch=8,
        inputs=images(8, 224, 224, 3, classes=1000),
        net=resnet18,
        options=LAYOUTS,
        settings=rate(0.001),
    ),
    Subject(
        name="char_lstm",
        title="char-LSTM, 256 hidden, T 64, batch 32, Adam",
        file="models/char_lstm.json",
        batch=32,
        inputs=texts(32, 64, 65),
        net=char_lstm,
        options={"compile": ("eager lstm", "unrolled")},
        settings=("optimizer.clip_norm=0",),
    ),
    Subject(
        name="gpt",
        title="GPT, 4 layers of 256, T 128, batch 16, AdamW",
        file="models/gpt_small.json",
        batch=16,
        inputs=texts(16, 128, 65),
        net=gpt,
        settings=(
            *rate(0.001),
            "optimizer.clip_norm=0",
            "model.layers.2.rate=0",
            "model.blocks.transformer.parameters.dropout=0",
        ),
    ),
    Subject(
        name="linear",
        title="linear regression, 300 steps, whole process",
        file="models/linear_regression.json",
        batch="full",
        inputs=points,
        net=line,
        whole_steps=300,
    ),
]
