"""Runs problem lists (bench/problems) in Gradus and in eager PyTorch in turns: one table.

Every round measures each problem once in our process, which also measures what the machine can do
meanwhile, and once in PyTorch's; a figure is the median of the rounds. Our results are compared
with the interpreter's in the first round. Nothing else should run on the machine.
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import math
import pathlib
import re
import statistics
import sys
import tempfile
import time

from processes import ROOT, Worker, processors, run

PAUSE = 0.1  # seconds in which another process's threads fall asleep


@dataclasses.dataclass
class Result:
    problem: str
    group: str = ""
    level: str = ""
    spills: int = 0
    ours: list[float] = dataclasses.field(default_factory=list)  # seconds, of each round
    peer: list[float] = dataclasses.field(default_factory=list)
    share: list[float] = dataclasses.field(default_factory=list)
    rate: float = 0  # operations or bytes per second

    @property
    def ratio(self) -> float:
        return statistics.median(self.peer) / statistics.median(self.ours)

    @property
    def own_share(self) -> float:
        return statistics.median(self.share)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help="problems")
    parser.add_argument("--bench", default=str(ROOT / "build/release/bench/bench_kernels"),
                        help="our program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.15,
                        help="per measurement of PyTorch")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--filter", default="", help="part of a problem's name")
    parser.add_argument("--json", help="write everything to this file")
    return parser.parse_args()


def names(options: argparse.Namespace, file: str) -> list[str]:
    """The problems of a file as our program spells them."""
    listed = run([options.bench, file, "--benchmark_list_tests=true"], 1).output
    found = re.findall(r"^(.* )threads=1/", listed, re.MULTILINE)
    chosen = [name.strip() for name in found if options.filter in name]
    if not chosen:
        raise SystemExit(f"compare_kernels: {file} has no problem with '{options.filter}' in its name")
    return chosen


def measure_ours(options: argparse.Namespace, file: str, result: Result, threads: int,
                 check: bool) -> None:
    with tempfile.NamedTemporaryFile(suffix=".json") as output:
        run([options.bench, file, f"--threads={threads}", f"--check={'yes' if check else 'no'}",
             f"--benchmark_filter=^{result.problem} threads={threads}/",
             "--benchmark_repetitions=3", f"--benchmark_out={output.name}",
             "--benchmark_out_format=json"], threads)
        runs = json.load(output)["benchmarks"]
    median = next(r for r in runs if r.get("aggregate_name") == "median")
    result.ours.append(1e-6 * median["real_time"])
    result.share.append(median["share"])
    result.rate = median.get("flops", 0) or median["bytes"]
    result.spills = int(median["spills"])
    result.group, result.level = median["label"].split("|")


HEADING = (f"{'problem':72} {'us':>10} {'G/s':>7} {'share':>6} {'PyTorch us':>10} {'share':>6} "
           f"{'PyTorch / it':>12} {'spills':>6}  data in")


def line(result: Result) -> str:
    share = result.own_share
    return (f"{result.problem:72} {1e6 * statistics.median(result.ours):10.2f} "
            f"{1e-9 * result.rate:7.1f} {100 * share:5.1f}% "
            f"{1e6 * statistics.median(result.peer):10.2f} {100 * share / result.ratio:5.1f}% "
            f"{result.ratio:12.2f} {result.spills:6}  {result.level}")


def mean(values: list[float]) -> float:
    return math.exp(statistics.mean(math.log(value) for value in values))


def print_means(results: list[Result]) -> None:
    groups = collections.defaultdict(list)
    for result in results:
        groups[result.group].append(result)
    print("\ngeometric means: our share, PyTorch / it and its least")
    for group, members in groups.items():
        ratios = [r.ratio for r in members]
        print(f"{group:72} {100 * mean([r.own_share for r in members]):5.1f}% {mean(ratios):6.2f} "
              f"{min(ratios):6.2f}  of {len(members)} problems")


def compare(options: argparse.Namespace, threads: int) -> list[Result]:
    results = []
    with contextlib.ExitStack() as running:
        peer = Worker("kernel_worker.py", {"threads": threads}, threads)
        print(f"\n{threads} thread{'s' if threads > 1 else ''}; {peer.start()}\n{HEADING}",
              flush=True)
        running.callback(peer.stop)
        for file in options.files:
            for problem in names(options, file):
                result = Result(problem)
                for number in range(options.rounds):
                    time.sleep(PAUSE)
                    measure_ours(options, file, result, threads, number == 0)
                    time.sleep(PAUSE)
                    result.peer.append(peer.ask([problem, options.seconds]))
                print(line(result), flush=True)
                results.append(result)
    return results


def main() -> None:
    options = arguments()
    processors(max(options.threads))
    results = []
    for threads in options.threads:
        results += compare(options, threads)
    print_means(results)
    if options.json:
        written = [dataclasses.asdict(result) for result in results]
        pathlib.Path(options.json).write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
