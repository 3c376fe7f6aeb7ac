"""Processes that are measured: ours, which live as long as a measurement, and the peers'.

All get the same processors, as many as threads. While one measures, the others wait for input.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

from subjects import Subject

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# At their best the peers keep freed memory and use huge pages.
TUNABLES = ("glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:"
            "glibc.malloc.trim_threshold=68719476736")


def processors(threads: int) -> list[int]:
    """Those to use; there must be as many."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < threads:
        sys.exit(f"compare: {threads} threads, but only {len(allowed)} processors")
    return allowed[:threads]


@dataclasses.dataclass
class Finished:
    output: str
    seconds: float
    memory: int  # peak, bytes


def run(command: list[str], threads: int, extra: dict[str, str] | None = None) -> Finished:
    """Runs a process to its end; a failure ends this program with what the process said."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
            env={**os.environ, **(extra or {})},
            preexec_fn=lambda: os.sched_setaffinity(0, processors(threads)))
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            sys.exit(f"compare: {' '.join(command)} failed:\n{errors.read()}")
        return Finished(output.read(), seconds, 1024 * usage.ru_maxrss)


class Gradus:
    """Our side of a subject."""

    def __init__(self, program: str, subject: Subject, threads: int, folder: pathlib.Path) -> None:
        self.program, self.subject, self.threads, self.folder = program, subject, threads, folder
        self.file = str(ROOT / subject.file)
        self.is_graph = subject.file.endswith(".ir")

    def call(self, *arguments: str, cache: str = "") -> Finished:
        command = [self.program, *arguments, "--json", "--threads", str(self.threads)]
        return run(command, self.threads, {"GRADUS_CACHE": cache})

    def settings(self) -> list[str]:
        data = {"source": "tensors", "file": str(self.folder / "data.safetensors"),
                "shuffle": False}
        values = [f"data={json.dumps(data)}", *self.subject.settings]
        return [word for value in values for word in ("--set", value)]

    def initial(self) -> list[str]:
        return ["--init", str(self.folder / "initial.safetensors")]

    def train(self, steps: int, output: str, *options: str, cache: str = "") -> Finished:
        """A data set of one batch makes every epoch a step, whose loss the log tells."""
        return self.call("train", self.file, *self.settings(), "--set", "training.epochs=null",
                         "--set", f"training.steps={steps}", "-o", str(self.folder / output),
                         *options, cache=cache)

    def resolve(self) -> dict:
        """Leaves weights of one step in the folder; the model with every default."""
        self.train(1, ".")
        return json.loads((self.folder / "model.json").read_text())

    def first_steps(self, steps: int, cache: str = "") -> dict:
        """Losses, seconds of compiling, seconds in all and peak of memory of a process."""
        finished = self.train(steps, "run", *self.initial(), cache=cache)
        log = (self.folder / "run/metrics.jsonl").read_text().splitlines()
        end = json.loads(finished.output.splitlines()[-1])
        return {"losses": [json.loads(line)["loss"] for line in log], "seconds": finished.seconds,
                "compile_seconds": end["compile_seconds"], "memory": finished.memory}

    def bench(self, seconds: float, *options: str) -> tuple[dict, Finished]:
        model = [self.file] if self.is_graph else [self.file, *self.settings(), *self.initial()]
        finished = self.call("bench", *model, "--seconds", str(seconds), *options)
        return json.loads(finished.output), finished


class Worker:
    """A process that answers every line of its input with one of JSON, and one when it starts."""

    def __init__(self, script: str, settings: dict, threads: int,
                 environment: dict[str, str] | None = None) -> None:
        self.settings, self.threads = settings, threads
        self.command = [sys.executable, str(HERE / script), json.dumps(settings)]
        self.environment = {
            "GLIBC_TUNABLES": TUNABLES,
            "OMP_NUM_THREADS": str(threads),
            **(environment or {}),
        }

    def start(self) -> dict:
        """Starts it; its first answer."""
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
            text=True, env={**os.environ, **self.environment},
            preexec_fn=lambda: os.sched_setaffinity(0, processors(self.threads)))
        return self.answer()

    def answer(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            sys.exit(f"compare: {' '.join(self.command)} failed:\n{self.errors.read()}")
        return json.loads(line)

    def ask(self, question: Any) -> Any:
        print(json.dumps(question), file=self.process.stdin, flush=True)
        return self.answer()

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.errors.close()


class Peer(Worker):
    """A peer's process on one subject, which stays alive between measurements; its first answer
    says what the first steps were like."""

    def __init__(self, peer: str, subject: Subject, option: str, threads: int,
                 folder: pathlib.Path, cache: pathlib.Path, optimizer: dict | None) -> None:
        settings = {
            "peer": peer, "subject": subject.name, "option": option, "threads": threads,
            "folder": str(folder), "optimizer": optimizer, "whole_steps": subject.whole_steps}
        super().__init__("worker.py", settings, threads, {
            "NPROC": str(threads),  # of XLA's thread pools
            "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}",
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "TORCHINDUCTOR_CACHE_DIR": str(cache),
        })

    def measure(self, seconds: float) -> float:
        return self.ask(seconds)

    def whole(self) -> tuple[dict, Finished]:
        """Runs the process to its end."""
        finished = run(self.command, self.threads, self.environment)
        return {**json.loads(finished.output), "memory": finished.memory}, finished
