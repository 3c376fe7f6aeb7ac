"""Runs the same training steps in Gradus, PyTorch and JAX in turns and prints one table.

Weights and batches are the same for all; before anything is timed, the losses of the first steps
must agree. Then every round measures each of them once, for the same time, in processes of their
own; a figure is the median of the rounds' medians. "Cold" is a first process with empty caches,
"warm" a second one. Nothing else should run on the machine meanwhile. --rounds 0 compares the
losses only.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import table
from processes import HERE, ROOT, TUNABLES, Gradus, Peer, processors, run
from subjects import SUBJECTS, Subject
from table import Row

PEERS = {"eager": "PyTorch eager", "compile": "torch.compile", "jax": "JAX jit"}
FIRST_STEPS = 5
BOUNDS = [1e-5, 1e-3, 1e-3, 1e-3, 1e-3]  # relative, of each step's loss
PAUSE = 0.2  # seconds in which another process's threads fall asleep

NOTES = """\
ms per step: median of the rounds' medians (least - greatest); best peer / it: how many times as
fast as the best peer; peak MB: of a process with warm caches after its first steps; loss off: by
how much Gradus' loss differs from that row's, relative. The element-wise graph drops elements by
random numbers, which each library draws in its own way, so its losses are not compared. A whole
process is timed from start to end, compiling, training and saving included: Gradus without its
cache, the peers with theirs."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [subject.name for subject in SUBJECTS]
    parser.add_argument("--gradus", default=str(ROOT / "build/release/gradus"), help="the program")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="per measurement")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--subjects", nargs="+", choices=names, default=names)
    parser.add_argument("--peers", type=lambda text: text.split(","), default=list(PEERS),
                        metavar="PEER,...", help="of eager, compile and jax")
    parser.add_argument("--svg", help="write a chart to this file")
    parser.add_argument("--json", help="write everything to this file")
    options = parser.parse_args()
    for peer in options.peers:
        if peer not in PEERS:
            parser.error(f"no peer '{peer}'; there are {', '.join(PEERS)}")
    return options


def first_line(path: str, start: str) -> str:
    for text in pathlib.Path(path).read_text().splitlines():
        if text.startswith(start):
            return text.split(":", 1)[1].strip()
    return "unknown"


def own_version(program: str) -> str:
    revision = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
                              capture_output=True, text=True).stdout.strip()
    libraries = run(["ldd", program], 1).output.split()
    llvm = next((name for name in libraries if name.startswith("libLLVM")), "LLVM inside")
    return f"Gradus {revision or 'of unknown revision'} ({llvm})"


def machine(options: argparse.Namespace) -> list[str]:
    doctor = json.loads(run([options.gradus, "doctor", "--json"], max(options.threads)).output)
    pages = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
    huge = pages.read_text().strip() if pages.exists() else "unknown"
    return [
        f"processor: {first_line('/proc/cpuinfo', 'model name')} ({doctor['processor']}), "
        f"{os.cpu_count()} seen; with {max(options.threads)} threads "
        f"{1e-9 * doctor['peak_flops']:.0f} GFLOP/s of fma, "
        f"{1e-9 * doctor['peak_copy_bytes']:.1f} GB/s copied",
        f"system: Linux {platform.release()}, {' '.join(platform.libc_ver())}, "
        f"Python {platform.python_version()}; huge pages: {huge}",
        own_version(options.gradus),
        f"peers' GLIBC_TUNABLES: {TUNABLES}",
        f"{options.rounds} rounds of {options.seconds} s",
    ]


class Contest:
    """One subject with one number of threads."""

    def __init__(self, options: argparse.Namespace, subject: Subject, threads: int,
                 folder: pathlib.Path) -> None:
        self.options, self.subject, self.threads, self.folder = options, subject, threads, folder
        self.ours = Gradus(options.gradus, subject, threads, folder)
        self.optimizer: dict | None = None
        self.libraries: set[str] = set()
        self.rows: list[Row] = []

    def prepare(self) -> None:
        """Writes inputs and first weights; our side tells the parameters' names and shapes."""
        command = [sys.executable, str(HERE / "prepare.py"), self.subject.name, str(self.folder)]
        if not self.ours.is_graph:
            run([*command, "data"], 1)
            self.optimizer = self.ours.resolve()["optimizer"]
            if self.optimizer["clip_norm"]:
                sys.exit(f"compare: the peers of {self.subject.name} do not clip gradients")
        run([*command, "initial"], 1)

    def row(self, by: str) -> Row:
        self.rows.append(Row(self.subject.title, self.threads, by))
        return self.rows[-1]

    def start_ours(self) -> None:
        """The first steps of a process without and with code in the cache."""
        row = self.row("Gradus")
        if self.ours.is_graph:
            result, finished = self.ours.bench(0.01, "--fused-only")
            row.compile_cold, row.memory = result["fused"]["compile_seconds"], finished.memory
        else:
            steps = self.subject.whole_steps or FIRST_STEPS
            cache = str(self.folder / "cache-gradus")
            row.compile_cold = self.ours.first_steps(steps, cache)["compile_seconds"]
            warm = self.ours.first_steps(steps, cache)
            row.compile_warm, row.memory = warm["compile_seconds"], warm["memory"]
            row.losses = warm["losses"]
        if not self.subject.whole_steps:
            self.row("Gradus unfused")

    def start_peer(self, name: str) -> Peer:
        """Tries its options in processes of their own, then starts it with the fastest."""
        row = self.row(PEERS[name])
        candidates = self.subject.options.get(name, ("",))
        trials = []
        for number, option in enumerate(candidates):
            cache = self.folder / f"cache-{name}-{number}"
            peer = Peer(name, self.subject, option, self.threads, self.folder, cache,
                        self.optimizer)
            if self.subject.whole_steps:
                known, _ = peer.whole()
                seconds = known["later_seconds"]
            else:
                known = peer.start()
                seconds = peer.measure(self.options.seconds) if len(candidates) > 1 else 0
                peer.stop()
            trials.append((seconds, number, peer, known))
        _, _, peer, cold = min(trials)
        row.option = peer.settings["option"]
        warm = peer.whole()[0] if self.subject.whole_steps else peer.start()
        if name != "eager":
            row.compile_cold = cold["first_seconds"] - cold["later_seconds"]
            row.compile_warm = warm["first_seconds"] - warm["later_seconds"]
        row.losses, row.memory = warm["losses"], warm["memory"]
        self.libraries.add(warm["libraries"])
        return peer

    def compare_losses(self) -> list[str]:
        """What is wrong with the losses."""
        ours, wrong = self.rows[0].losses, []
        for row in self.rows:
            if self.ours.is_graph or not row.losses or not row.is_peer:
                continue
            row.loss_off = [abs(a - b) / abs(b) for a, b in zip(ours, row.losses)]
            for step, (difference, bound) in enumerate(zip(row.loss_off, BOUNDS), 1):
                if not difference <= bound:
                    wrong.append(
                        f"{row.subject}, {row.threads} threads: the loss of step {step} is "
                        f"{ours[step - 1]:.9g} and with {row.by} {row.losses[step - 1]:.9g}, "
                        f"{difference:.1e} apart and not at most {bound:.0e}")
        return wrong

    def measure_ours(self) -> None:
        if self.subject.whole_steps:
            known = self.ours.first_steps(self.subject.whole_steps)
            self.rows[0].seconds.append(known["seconds"])
            return
        result, _ = self.ours.bench(self.options.seconds)
        for row, variant in zip(self.rows, ("fused", "unfused")):
            row.seconds.append(result[variant]["seconds"])

    def measure_peer(self, peer: Peer) -> None:
        row = next(row for row in self.rows if row.by == PEERS[peer.settings["peer"]])
        if self.subject.whole_steps:
            row.seconds.append(peer.whole()[1].seconds)
        else:
            row.seconds.append(peer.measure(self.options.seconds))

    def run(self) -> list[str]:
        """Fills the rows; what is wrong with the losses."""
        self.prepare()
        self.start_ours()
        with contextlib.ExitStack() as running:
            peers = []
            for name in self.options.peers:
                peers.append(self.start_peer(name))
                if not self.subject.whole_steps:
                    running.callback(peers[-1].stop)
            if wrong := self.compare_losses():
                return wrong
            turns = [self.measure_ours, *(lambda peer=peer: self.measure_peer(peer)
                                          for peer in peers)]
            for number in range(self.options.rounds):
                first = number % len(turns)
                for turn in turns[first:] + turns[:first]:
                    time.sleep(PAUSE)
                    turn()
        table.rate(self.rows)
        return []


def main() -> None:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # tidies up
    processors(max(options.threads))
    heading = machine(options)
    print("\n".join(heading), flush=True)
    rows: list[Row] = []
    libraries: set[str] = set()
    wrong: list[str] = []
    for subject in (s for s in SUBJECTS if s.name in options.subjects):
        print(f"\n{subject.title}\n{table.line(table.HEADINGS)}", flush=True)
        for threads in options.threads:
            folder = pathlib.Path(tempfile.mkdtemp(prefix="gradus-peers-"))
            try:
                contest = Contest(options, subject, threads, folder)
                wrong += contest.run()
            finally:
                shutil.rmtree(folder)
            print("\n".join(table.line(table.cells(row)) for row in contest.rows), flush=True)
            rows += contest.rows
            libraries |= contest.libraries
    print("\n" + "\n".join(sorted(libraries)) + "\n" + NOTES)
    if options.json:
        results = {"machine": heading, "libraries": sorted(libraries),
                   "rows": [dataclasses.asdict(row) for row in rows]}
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1) + "\n")
    if options.svg:
        pathlib.Path(options.svg).write_text(table.chart(rows))
    if wrong:
        sys.exit("\nLOSSES DISAGREE\n" + "\n".join(wrong))


main()
