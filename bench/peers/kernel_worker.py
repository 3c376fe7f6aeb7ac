"""The process in which PyTorch runs problems of bench/problems. Usage: kernel_worker.py SETTINGS.

Its first answer names the libraries. Then each line of its input, [problem, seconds], asks for the
median seconds of a run. Images are channels last or contiguous, whichever is faster.
"""

import functools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import TextIO

import torch
import torch.nn.functional as F

Run = Callable[[], object]

aten = torch.ops.aten


def contraction(p: dict) -> list[Run]:
    m, n, k = (int(p[key]) for key in "mnk")
    transposed = p.get("transposed", "none")
    lhs = torch.randn(k, m).t() if transposed == "lhs" else torch.randn(m, k)
    rhs = torch.randn(n, k).t() if transposed == "rhs" else torch.randn(k, n)
    out = torch.empty(m, n)
    return [lambda: torch.mm(lhs, rhs, out=out)]


def convolution_in(p: dict, memory: torch.memory_format) -> Run:
    batch, size, window = (int(p[key]) for key in ("batch", "size", "window"))
    groups, stride = int(p.get("groups", 1)), int(p.get("stride", 1))
    around = (window - 1) // 2
    x = torch.randn(batch, int(p["in"]), size, size).contiguous(memory_format=memory)
    w = torch.randn(int(p["out"]), int(p["in"]) // groups, window, window)
    w = w.contiguous(memory_format=memory)
    if p["direction"] == "forward":
        return lambda: F.conv2d(x, w, None, stride, around, 1, groups)
    dy = torch.randn_like(F.conv2d(x, w, None, stride, around, 1, groups), memory_format=memory)
    wanted = [p["direction"] == "input", p["direction"] == "weight", False]
    return lambda: aten.convolution_backward(dy, x, w, None, [stride] * 2, [around] * 2, [1, 1],
                                             False, [0, 0], groups, wanted)


def convolution(p: dict) -> list[Run]:
    return [convolution_in(p, memory) for memory in (torch.channels_last, torch.contiguous_format)]


def softmax(p: dict) -> list[Run]:
    x = torch.randn(int(p["rows"]), int(p["columns"]))
    if p["direction"] == "forward":
        return [lambda: torch.softmax(x, -1)]
    y, dy = torch.softmax(x, -1), torch.randn_like(x)
    return [lambda: aten._softmax_backward_data(dy, y, -1, torch.float32)]


def layer_norm(p: dict) -> list[Run]:
    x = torch.randn(int(p["rows"]), int(p["columns"]))
    scale, shift = torch.randn(x.shape[1]), torch.randn(x.shape[1])
    width = [x.shape[1]]
    if p["direction"] == "forward":
        return [lambda: F.layer_norm(x, width, scale, shift, 1e-5)]
    dy = torch.randn_like(x)
    _, mean, inverse = aten.native_layer_norm(x, width, scale, shift, 1e-5)
    return [lambda: aten.native_layer_norm_backward(dy, x, width, mean, inverse, scale, shift,
                                                    [True] * 3)]


def chain(p: dict) -> list[Run]:
    x, residual = (torch.randn(int(p["rows"]), int(p["columns"])) for _ in range(2))
    scale, shift = torch.randn(x.shape[1]), torch.randn(x.shape[1])
    activation = {"relu": F.relu, "gelu": F.gelu, "tanh": torch.tanh}[p["activation"]]
    if p["direction"] == "forward":
        return [lambda: activation(x * scale + shift) + residual]
    inputs = [t.requires_grad_() for t in (x, scale, shift)]
    y = activation(x * scale + shift) + residual
    dy = torch.randn_like(x)
    return [lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)]


def attention(p: dict) -> list[Run]:
    shape = [1, int(p["heads"]), int(p["t"]), int(p["width"])]
    q, k, v = (torch.randn(shape) for _ in range(3))
    causal = p["causal"] == "yes"
    if p["direction"] == "forward":
        return [lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal)]
    inputs = [t.requires_grad_() for t in (q, k, v)]
    y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    dy = torch.randn_like(y)
    return [lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)]


def optimizer(p: dict) -> list[Run]:
    w = torch.randn(int(p["elements"])).requires_grad_()
    w.grad = torch.randn_like(w)
    method = p["method"]
    if method == "adam":
        return [torch.optim.Adam([w], fused=True).step]
    return [torch.optim.SGD([w], 1e-3, 0.9 if method == "momentum" else 0, fused=True).step]


KINDS = {f.__name__: f for f in (contraction, convolution, softmax, layer_norm, chain, attention,
                                 optimizer)}


def measure(run: Run, seconds: float) -> float:
    """Median seconds of a run; short ones are timed several at once."""
    for _ in range(3):
        begin = time.perf_counter()
        run()
        once = time.perf_counter() - begin
    calls = max(1, int(1e-3 / once))
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 5:
        begin = time.perf_counter()
        for _ in range(calls):
            run()
        taken.append((time.perf_counter() - begin) / calls)
    return statistics.median(taken)


@functools.lru_cache(maxsize=1)
def fastest(problem: str) -> Run:
    kind, *words = problem.split()
    runs = KINDS[kind](dict(word.split("=") for word in words))
    return min(runs, key=lambda run: measure(run, 0.1)) if len(runs) > 1 else runs[0]


def serve(settings: dict, answers: TextIO) -> None:
    import torch_steps

    torch.set_num_threads(settings["threads"])
    torch.set_num_interop_threads(1)
    torch.manual_seed(1)
    torch.set_flush_denormal(True)
    print(json.dumps(torch_steps.libraries()), file=answers, flush=True)
    for line in sys.stdin:
        problem, seconds = json.loads(line)
        by_autograd = problem.startswith(("chain", "attention")) and "direction=backward" in problem
        with torch.enable_grad() if by_autograd else torch.no_grad():
            print(json.dumps(measure(fastest(problem), seconds)), file=answers, flush=True)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    serve(json.loads(sys.argv[1]), answers)


main()
