"""What the benchmarks share: ways to do the same work, run in turn in one process, and their rates as a table.

Import it before anything else: it sets the number of threads, which NumPy reads when it is loaded (the
environment's OMP_NUM_THREADS, 1 if it says nothing), and says where the library lies.
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

THREADS = int(os.environ.setdefault("OMP_NUM_THREADS", "1"))
for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(THREADS)
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

Result = TypeVar("Result")


def processor() -> str:
    """The processor's name, its cores, and how many threads the benchmark runs on."""
    table = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", table.read_text()) if table.exists() else []
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores, threads used: {THREADS}"


def compare(
    ways: Mapping[str, Callable[[], Result]],
    same: Callable[[Result, Result], bool],
    amount: float,
    unit: str,
    repeats: int,
) -> bool:
    """Run the ways in turn and print their rates; whether every other way's result is the first one's.

    The results are compared in a first round that is not timed. In every second round the order is reversed,
    so that neither what a way leaves in the caches nor a slow drift of the machine favours one of them.

    Args:
        ways: names, and functions of no arguments that do the work; the first one is ours.
        same: whether two results are equal.
        amount: work in one run, in `unit`.
        unit: plural, for example "pictures".
        repeats: timed rounds, 1 or more.
    """
    from copytrace import runtime  # loads NumPy, which the lines above must precede

    runtime.set_threads(THREADS)
    results = [way() for way in ways.values()]
    equal = [same(results[0], result) for result in results[1:]]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats):
        for name in list(ways)[:: -1 if repeat % 2 else 1]:
            started = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - started)

    ours, *others = ways
    print(f"{processor()}; {repeats} rounds; median (smallest to largest)\n")
    print(f"| | {unit}/s | rate of {ours} ÷ this rate | result |\n|---|---|---|---|")
    print(f"| {ours} | {spread([amount / s for s in seconds[ours]])} | | |")
    for name, agrees in zip(others, equal, strict=True):
        ratios = [other / own for own, other in zip(seconds[ours], seconds[name], strict=True)]
        rates = [amount / s for s in seconds[name]]
        print(f"| {name} | {spread(rates)} | {spread(ratios)} | {'equal' if agrees else 'DIFFERENT'} |")
    print(flush=True)
    return all(equal)


def spread(values: Sequence[float]) -> str:
    """Median (smallest to largest)."""
    middle, low, high = (_rounded(value) for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def _rounded(value: float) -> str:
    """Three significant digits, or whole numbers from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
