"""Times training steps of Gradus and of PyTorch in turns and prints one table.

Every round runs `gradus bench` as a process of its own and then PyTorch's step for as long; a
figure is the median of the rounds' medians, its spread their least and greatest. Nothing else
should run on the machine meanwhile.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import torch

import steps

ROOT = pathlib.Path(__file__).resolve().parents[2]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gradus", default=ROOT / "build/release/gradus", help="the program")
    parser.add_argument("--mnist", help="directory of the MNIST files; without it the MLP is skipped")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="per measurement")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--svg", help="write a chart to this file")
    return parser.parse_args()


def measure_ours(options, subject, threads):
    """Median seconds of a fused and of an unfused step."""
    command = [options.gradus, "bench", *subject, "--json", "--threads", str(threads)]
    command += ["--seconds", str(options.seconds)]
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    result = json.loads(done.stdout)
    return result["fused"]["seconds"], result["unfused"]["seconds"]


def measure_peer(step, seconds):
    """Median seconds of a step."""
    for _ in range(3):
        step()
    taken = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 5:
        begin = time.perf_counter()
        step()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def machine():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown processor"


def cell(values):
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{1e3 * middle:8.2f} ({1e3 * least:.2f}-{1e3 * most:.2f})"


def chart(rows):
    """An SVG of horizontal bars: milliseconds, shorter is better."""
    bars, y = [], 30
    longest = max(max(statistics.median(v) for _, v in series) for _, series in rows)
    colours = {"fused": "#2a6f97", "unfused": "#a9d6e5", "PyTorch eager": "#ee6c4d"}
    for title, series in rows:
        bars.append(f'<text x="10" y="{y}" font-weight="bold">{title}</text>')
        y += 8
        for name, values in series:
            value = statistics.median(values)
            width = max(1.0, 420 * value / longest)
            bars.append(
                f'<rect x="120" y="{y}" width="{width:.1f}" height="16" fill="{colours[name]}"/>'
                f'<text x="112" y="{y + 12}" text-anchor="end">{name}</text>'
                f'<text x="{126 + width:.1f}" y="{y + 12}">{1e3 * value:.2f} ms</text>'
            )
            y += 20
        y += 24
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="660" height="{y}" '
        f'font-family="sans-serif" font-size="12">{"".join(bars)}</svg>\n'
    )


def main():
    options = arguments()
    subjects = [("element-wise graph", [str(ROOT / "bench/graphs/elementwise.ir")], steps.elementwise)]
    if options.mnist:
        model = [str(ROOT / "models/mnist_mlp.json"), "--set", f"data.directory={options.mnist}"]
        subjects.append(("MNIST MLP", model, steps.mlp))
    print(f"{machine()}; PyTorch {torch.__version__}; {options.rounds} rounds; milliseconds per step")
    print(f"{'step':20} {'threads':>7} {'fused':>24} {'unfused':>24} {'PyTorch eager':>24} "
          f"{'unfused/fused':>14} {'PyTorch/fused':>14}")
    rows = []
    for name, subject, make in subjects:
        step = make()
        for threads in options.threads:
            torch.set_num_threads(threads)
            series = {"fused": [], "unfused": [], "PyTorch eager": []}
            for _ in range(options.rounds):
                fused, unfused = measure_ours(options, subject, threads)
                series["fused"].append(fused)
                series["unfused"].append(unfused)
                series["PyTorch eager"].append(measure_peer(step, options.seconds))
            ours = statistics.median(series["fused"])
            print(f"{name:20} {threads:7} {cell(series['fused']):>24} {cell(series['unfused']):>24} "
                  f"{cell(series['PyTorch eager']):>24} "
                  f"{statistics.median(series['unfused']) / ours:13.2f}x "
                  f"{statistics.median(series['PyTorch eager']) / ours:13.2f}x", flush=True)
            rows.append((f"{name}, {threads} thread{'s' if threads > 1 else ''}", list(series.items())))
    if options.svg:
        pathlib.Path(options.svg).write_text(chart(rows))


main()
