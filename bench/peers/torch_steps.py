"""The subjects' training steps in PyTorch."""

import pathlib
from typing import Any

import torch
import torch.nn.functional as F

import tensors
from subjects import Subject

STATISTICS = ("mean", "variance")


class Layers:
    """PyTorch's layers on parameters by name; images are n, channels, height, width."""

    def __init__(self, parameters: dict[str, torch.Tensor], option: str) -> None:
        self.parameters = parameters
        self.channels_last = option == "channels last"
        # What torch.compile makes of it, unless told, is a graph without the loop.
        self.run_lstm = torch.compiler.disable(torch.lstm) if option == "eager lstm" else torch.lstm

    def conv(self, name: str, x: Any, stride: int = 1, padding: int = 0, bias: bool = False) -> Any:
        shift = self.parameters[f"{name}/bias"] if bias else None
        return F.conv2d(x, self.parameters[f"{name}/kernel"], shift, stride, padding)

    def dense(self, name: str, x: Any) -> Any:
        return F.linear(x, self.parameters[f"{name}/kernel"], self.parameters[f"{name}/bias"])

    def batch_norm(self, name: str, x: Any, keep: float, epsilon: float) -> Any:
        mean, variance, gamma, beta = (
            self.parameters[f"{name}/{part}"] for part in (*STATISTICS, "gamma", "beta")
        )
        return F.batch_norm(x, mean, variance, gamma, beta, True, 1 - keep, epsilon)

    def flatten(self, x: Any) -> Any:
        if x.dim() == 4 and self.channels_last:
            x = x.permute(0, 2, 3, 1)
        return x.flatten(1)

    def max_pool(self, x: Any, size: int, stride: int, padding: int) -> Any:
        return F.max_pool2d(x, size, stride, padding)

    def global_pool(self, x: Any) -> Any:
        return x.mean((2, 3))

    def relu(self, x: Any) -> Any:
        return F.relu(x)

    def gelu(self, x: Any) -> Any:
        return F.gelu(x)

    def dropout(self, x: Any, rate: float) -> Any:
        return F.dropout(x, rate, training=True)

    def layer_norm(self, x: Any, epsilon: float) -> Any:
        return F.layer_norm(x, x.shape[-1:], eps=epsilon)

    def scaled_norm(self, name: str, x: Any, epsilon: float) -> Any:
        gamma, beta = (self.parameters[f"{name}/{part}"] for part in ("gamma", "beta"))
        return F.layer_norm(x, x.shape[-1:], gamma, beta, epsilon)

    def embedding(self, name: str, indices: Any) -> Any:
        return F.embedding(indices, self.parameters[f"{name}/embeddings"])

    def lstm(self, name: str, x: Any) -> Any:
        """What nn.LSTM calls; its second bias is the constant of the forget gate."""
        kernel, recurrent, bias = (
            self.parameters[f"{name}/{part}"] for part in ("kernel", "recurrent_kernel", "bias")
        )
        units = recurrent.shape[1]
        first = x.new_zeros(1, x.shape[0], units)
        more = x.new_zeros(4 * units)
        more[units : 2 * units] = 1
        weights = [kernel, recurrent, bias, more]
        return self.run_lstm(x, (first, first), weights, True, 1, 0.0, True, False, True)[0]

    def causal_attention(self, name: str, x: Any, heads: int) -> Any:
        def project(part: str, y: Any) -> Any:
            kernel, bias = (self.parameters[f"{name}/{part}_{kind}"] for kind in ("kernel", "bias"))
            return F.linear(y, kernel, bias)

        query, key, value = (
            project(part, x).unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        taken = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return project("output", taken.transpose(1, 2).flatten(2))

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        return F.cross_entropy(logits.flatten(0, -2), labels.flatten())

    def accuracy(self, logits: Any, labels: Any) -> Any:
        return (logits.argmax(-1) == labels).float().mean()


ADAMS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def optimizer_of(settings: dict, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    rate = settings["learning_rate"]["rate"]
    if settings["method"] in ADAMS:
        betas = (settings["beta_1"], settings["beta_2"])
        decay = settings["weight_decay"] if settings["method"] == "adamw" else 0
        return ADAMS[settings["method"]](parameters, rate, betas, settings["epsilon"], decay,
                                         fused=True)
    momentum = settings["momentum"] if settings["method"] == "momentum" else 0
    return torch.optim.SGD(parameters, rate, momentum, fused=True)


class Step:
    """One subject's step, eager or compiled; `option` is of those in `subjects`, or empty."""

    def __init__(self, subject: Subject, folder: pathlib.Path, settings: dict | None,
                 option: str, threads: int, compiled: bool) -> None:
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        torch.manual_seed(1)
        if compiled:
            from torch._inductor import config  # slow to load

            config.fallback_random = option == "eager random"
        self.subject, self.folder = subject, folder
        self.channels_last = option == "channels last"
        data = tensors.read(folder / "data.safetensors")
        self.batch = {name: self.input(array) for name, array in data.items()}
        self.state = dict(self.initial())
        self.trained = [v.requires_grad_() for k, v in self.state.items()
                        if not k.endswith(STATISTICS)]
        self.optimizer = optimizer_of(settings, self.trained) if settings else None
        self.settings, self.taken = settings, 0  # steps
        self.keep = 1.0  # of a weight, each step
        if settings and settings["method"] != "adamw":
            self.keep -= settings["learning_rate"]["rate"] * settings["weight_decay"]
        layers = Layers(self.state, option)

        def forward(batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
            return subject.net(layers, batch)

        self.forward = torch.compile(forward, dynamic=False) if compiled else forward

    def image_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def input(self, array: Any) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if tensor.dim() == 4:
            return tensor.permute(0, 3, 1, 2).contiguous(memory_format=self.image_format())
        return tensor.long() if tensor.dtype == torch.int32 else tensor

    def initial(self) -> Any:
        """Names and values of the first state in PyTorch's layouts."""
        for name, array in tensors.read(self.folder / "initial.safetensors").items():
            tensor = torch.from_numpy(array)
            if name in self.subject.flattened and not self.channels_last:
                tensor = tensor.reshape(*self.subject.flattened[name], -1)
                tensor = tensor.permute(2, 0, 1, 3).flatten(0, 2)
            if tensor.dim() == 4:
                tensor = tensor.permute(3, 2, 0, 1).contiguous(memory_format=self.image_format())
            elif name.endswith("kernel"):
                tensor = tensor.t().contiguous()
            yield name, tensor

    def reset(self) -> None:
        with torch.no_grad():
            for name, tensor in self.initial():
                self.state[name].copy_(tensor)
        if self.optimizer:
            self.optimizer.state.clear()
        self.taken = 0

    def run(self) -> torch.Tensor:
        """One step; its loss."""
        for parameter in self.trained:
            parameter.grad = None
        loss, _ = self.forward(self.batch)
        loss.backward()
        if self.optimizer:
            self.update()
        return loss.detach()

    def update(self) -> None:
        """Decoupled decay, then the optimizer's step."""
        self.taken += 1
        if self.keep != 1:
            with torch.no_grad():
                torch._foreach_mul_(self.trained, self.keep)
        if self.settings["method"] in ADAMS:
            # Gradus adds epsilon, as Kingma and Ba do in their faster form, before the second
            # moment is corrected; PyTorch adds it afterwards.
            correction = 1 - self.settings["beta_2"] ** self.taken
            self.optimizer.param_groups[0]["eps"] = self.settings["epsilon"] / correction**0.5
        self.optimizer.step()

    def values(self) -> tensors.Arrays:
        """The parameters."""
        return {name: tensor.detach().numpy() for name, tensor in self.state.items()}


def libraries() -> str:
    """Version and back-ends."""
    lines = torch.__config__.show().splitlines()
    known = {
        "MKL": next((x.split("Version")[1].split("-")[0].strip() for x in lines
                     if "Math Kernel Library" in x), None),
        "oneDNN": next((x.split("MKL-DNN")[1].split("(")[0].strip() for x in lines
                        if "MKL-DNN" in x), None),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "threads by": "OpenMP" if torch.backends.openmp.is_available() else None,
    }
    details = ", ".join(f"{name} {value}" for name, value in known.items() if value)
    return f"PyTorch {torch.__version__} ({details})"
