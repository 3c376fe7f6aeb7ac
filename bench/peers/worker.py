"""The process in which a peer runs one subject. Usage: worker.py SETTINGS, which are JSON.

It takes the first steps and answers with their losses, times and its peak of memory; then each line
of its input asks for a measurement of so many seconds. Answers are lines of JSON.
"""

import json
import os
import pathlib
import statistics
import sys
import time
from typing import Any, TextIO

FIRST_STEPS = 5


def peak_memory() -> int:
    """Bytes resident at most so far."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("the kernel does not tell VmHWM")


def make_step(settings: dict) -> tuple[Any, str]:
    """The step and what it is made with. Threads are limited before a library can start them."""
    from subjects import SUBJECTS

    subject = next(s for s in SUBJECTS if s.name == settings["subject"])
    folder = pathlib.Path(settings["folder"])
    if settings["peer"] == "jax":
        import jax_steps

        step = jax_steps.Step(subject, folder, settings["optimizer"], settings["option"])
        return step, jax_steps.libraries()
    import torch_steps

    step = torch_steps.Step(subject, folder, settings["optimizer"], settings["option"],
                            settings["threads"], settings["peer"] == "compile")
    return step, torch_steps.libraries()


def first_steps(step: Any, count: int) -> dict:
    losses, seconds = [], []
    for _ in range(count):
        begin = time.perf_counter()
        losses.append(float(step.run()))
        seconds.append(time.perf_counter() - begin)
    return {"losses": losses, "first_seconds": seconds[0],
            "later_seconds": statistics.median(seconds[1:]), "memory": peak_memory()}


def measure(step: Any, seconds: float) -> float:
    """Median seconds of a step, from the first parameters on."""
    step.reset()
    for _ in range(3):
        step.run()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 5:
        begin = time.perf_counter()
        step.run()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def serve(settings: dict, answers: TextIO) -> None:
    step, libraries = make_step(settings)
    known = first_steps(step, settings["whole_steps"] or FIRST_STEPS)
    if settings["whole_steps"]:
        import tensors

        tensors.write(pathlib.Path(settings["folder"]) / "trained.safetensors", step.values())
    print(json.dumps({"libraries": libraries, **known}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(step, float(line))), file=answers, flush=True)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    serve(json.loads(sys.argv[1]), answers)


main()
