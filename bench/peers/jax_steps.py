"""The subjects' training steps in JAX: one jitted function with donated state."""

import functools
import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

import tensors
from subjects import Subject

STATISTICS = ("mean", "variance")
IMAGE = ("NHWC", "HWIO", "NHWC")


class Layers:
    """Layers on parameters by name; images are n, height, width, channels."""

    def __init__(self, parameters: dict, statistics: dict, key: Any) -> None:
        self.parameters, self.statistics, self.key = parameters, statistics, key
        self.updates: dict[str, Any] = {}

    def conv(self, name: str, x: Any, stride: int = 1, padding: int = 0, bias: bool = False) -> Any:
        y = lax.conv_general_dilated(
            x, self.parameters[f"{name}/kernel"], (stride, stride), [(padding, padding)] * 2,
            dimension_numbers=IMAGE)
        return y + self.parameters[f"{name}/bias"] if bias else y

    def dense(self, name: str, x: Any) -> Any:
        return x @ self.parameters[f"{name}/kernel"] + self.parameters[f"{name}/bias"]

    def batch_norm(self, name: str, x: Any, keep: float, epsilon: float) -> Any:
        mean = x.mean((0, 1, 2))
        variance = jnp.square(x - mean).mean((0, 1, 2))
        for part, value in zip(STATISTICS, (mean, variance)):
            old = self.statistics[f"{name}/{part}"]
            self.updates[f"{name}/{part}"] = keep * old + (1 - keep) * value
        scale = self.parameters[f"{name}/gamma"] * lax.rsqrt(variance + epsilon)
        return (x - mean) * scale + self.parameters[f"{name}/beta"]

    def flatten(self, x: Any) -> Any:
        return x.reshape(x.shape[0], -1)

    def max_pool(self, x: Any, size: int, stride: int, padding: int) -> Any:
        n, height, width, channels = x.shape
        if size == stride and padding == 0 and height % size == width % size == 0:
            # Faster than reduce_window and its gradient.
            parts = x.reshape(n, height // size, size, width // size, size, channels)
            return parts.max((2, 4))
        border = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, size, size, 1),
                                 (1, stride, stride, 1), border)

    def global_pool(self, x: Any) -> Any:
        return x.mean((1, 2))

    def relu(self, x: Any) -> Any:
        return jax.nn.relu(x)

    def gelu(self, x: Any) -> Any:
        return jax.nn.gelu(x, approximate=False)

    def dropout(self, x: Any, rate: float) -> Any:
        self.key, key = jax.random.split(self.key)
        return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)

    def layer_norm(self, x: Any, epsilon: float) -> Any:
        mean = x.mean(-1, keepdims=True)
        variance = jnp.square(x - mean).mean(-1, keepdims=True)
        return (x - mean) * lax.rsqrt(variance + epsilon)

    def scaled_norm(self, name: str, x: Any, epsilon: float) -> Any:
        gamma, beta = (self.parameters[f"{name}/{part}"] for part in ("gamma", "beta"))
        return self.layer_norm(x, epsilon) * gamma + beta

    def embedding(self, name: str, indices: Any) -> Any:
        return self.parameters[f"{name}/embeddings"][indices]

    def lstm(self, name: str, x: Any) -> Any:
        kernel, recurrent, bias = (
            self.parameters[f"{name}/{part}"] for part in ("kernel", "recurrent_kernel", "bias")
        )
        units = recurrent.shape[0]
        given = x.swapaxes(0, 1) @ kernel + bias.at[units : 2 * units].add(1)

        def iterate(carried: tuple, now: Any) -> tuple:
            h, c = carried
            i, f, g, o = jnp.split(now + h @ recurrent, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        first = jnp.zeros((x.shape[0], units), x.dtype)
        return lax.scan(iterate, (first, first), given)[1].swapaxes(0, 1)

    def causal_attention(self, name: str, x: Any, heads: int) -> Any:
        def project(part: str, y: Any) -> Any:
            kernel, bias = (self.parameters[f"{name}/{part}_{kind}"] for kind in ("kernel", "bias"))
            return y @ kernel + bias

        query, key, value = (
            project(part, x).reshape(*x.shape[:2], heads, -1) for part in ("query", "key", "value")
        )
        taken = jax.nn.dot_product_attention(query, key, value, is_causal=True)
        return project("output", taken.reshape(*x.shape[:2], -1))

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        logs = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(logs, labels[..., None], -1).mean()

    def accuracy(self, logits: Any, labels: Any) -> Any:
        return (logits.argmax(-1) == labels).mean()


def updated(settings: dict, step: Any, w: Any, g: Any, slots: list) -> tuple[Any, list]:
    """A parameter and its slots after a step (from 0)."""
    rate = settings["learning_rate"]["rate"]
    w = w * (1 - rate * settings["weight_decay"])
    if settings["method"] in ("adam", "adamw"):
        beta1, beta2 = settings["beta_1"], settings["beta_2"]
        t = step + 1.0
        correction1, correction2 = (-jnp.expm1(t * math.log(beta)) for beta in (beta1, beta2))
        alpha = rate * jnp.sqrt(correction2) / correction1
        m = slots[0] + (g - slots[0]) * (1 - beta1)
        v = slots[1] + (g * g - slots[1]) * (1 - beta2)
        return w - m * alpha / (jnp.sqrt(v) + settings["epsilon"]), [m, v]
    if settings["method"] == "momentum":
        velocity = slots[0] * settings["momentum"] - rate * g
        return w + velocity, [velocity]
    return w - rate * g, []


SLOTS = {"adam": 2, "adamw": 2, "momentum": 1, "sgd": 0}


def train(subject: Subject, settings: dict, state: dict, batch: dict) -> tuple[dict, Any, Any]:
    """The state after a step, its loss and metric."""
    def loss_of(parameters: dict) -> tuple[Any, tuple]:
        layers = Layers(parameters, state["statistics"], None)
        loss, metric = subject.net(layers, batch)
        return loss, (metric, layers.updates)

    graded = jax.value_and_grad(loss_of, has_aux=True)
    (loss, (metric, statistics)), gradients = graded(state["parameters"])
    parameters, slots = {}, {}
    for name, w in state["parameters"].items():
        parameters[name], slots[name] = updated(
            settings, state["step"], w, gradients[name], state["slots"][name])
    after = {"parameters": parameters, "statistics": statistics, "slots": slots,
             "step": state["step"] + 1}
    return after, loss, metric


def grade(subject: Subject, state: dict, parameters: dict, batch: dict) -> tuple[dict, Any, Any]:
    """A step without an optimizer: the state, the loss and all gradients."""
    def loss_of(parameters: dict) -> tuple[Any, Any]:
        layers = Layers(parameters, {}, state["key"])
        return subject.net(layers, batch)[0], layers.key

    (loss, key), gradients = jax.value_and_grad(loss_of, has_aux=True)(parameters)
    return {"key": key}, loss, gradients


class Step:
    """One subject's step; `option` is a generator of random numbers or empty."""

    def __init__(self, subject: Subject, folder: pathlib.Path, settings: dict | None,
                 option: str) -> None:
        if option:
            jax.config.update("jax_default_prng_impl", option)
        self.folder, self.settings = folder, settings
        data = tensors.read(folder / "data.safetensors")
        self.batch = {name: jnp.array(array) for name, array in data.items()}
        if settings:
            function = functools.partial(train, subject, settings)
        else:
            function = functools.partial(grade, subject)
        self.function = jax.jit(function, donate_argnums=0)
        self.reset()

    def reset(self) -> None:
        first = tensors.read(self.folder / "initial.safetensors")
        self.state, self.others = {}, ()
        values = {name: jnp.array(array) for name, array in first.items()}
        if not self.settings:
            self.others = (values,)
            self.state = {"key": jax.random.key(1)}
            return
        trained = {name: v for name, v in values.items() if not name.endswith(STATISTICS)}
        slots = SLOTS[self.settings["method"]]
        self.state = {
            "parameters": trained,
            "statistics": {n: v for n, v in values.items() if n.endswith(STATISTICS)},
            "slots": {n: [jnp.zeros_like(v) for _ in range(slots)] for n, v in trained.items()},
            "step": jnp.zeros((), jnp.int32),
        }

    def run(self) -> Any:
        """One step; its loss."""
        self.state, loss, results = self.function(self.state, *self.others, self.batch)
        jax.block_until_ready((self.state, loss, results))
        return loss

    def values(self) -> tensors.Arrays:
        """The parameters."""
        return {name: jax.device_get(value) for name, value in self.state["parameters"].items()}


def libraries() -> str:
    """Version and back-ends."""
    import jaxlib

    return f"JAX {jax.__version__} (jaxlib {jaxlib.__version__}, XLA on {jax.default_backend()})"
