"""The benchmarks at a tiny size: equal results pass, and a wrong result of the library is noticed."""

import os
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageOps

from copytrace import ensembling, imaging, matching, pdq, proposals
from copytrace.synthesis import operations

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

# each benchmark's arguments; a function of the library that it measures; what is done to its result
CASES = {
    "decoding": (
        ["--side", "64", "--count", "3"],
        (imaging, "load_image"),
        lambda picture: picture ^ 1,
    ),
    "search": (
        ["--queries", "60", "--references", "200", "--dimensions", "16", "--pairs-per-query", "3"],
        (matching, "best_pairs"),
        lambda pairs: matching.Pairs(pairs.query, np.roll(pairs.reference, 1), pairs.score),
    ),
    "ensembling": (
        ["--families", "2", "--rows", "300", "--queries", "30"],
        (ensembling, "final_scores"),
        lambda table: table.assign(score=table["score"] + 2e-6),
    ),
    "hashing": (
        ["--side", "128", "--count", "2"],
        (pdq, "dihedral_hashes"),
        lambda hashes: hashes[::-1],
    ),
    "proposals": (
        ["--count", "1"],
        (proposals, "find_regions"),
        lambda regions: (regions[0] + 1, regions[1]),
    ),
    "synthesis": (
        ["--side", "64", "--count", "2"],
        (operations, "perspective"),
        ImageOps.mirror,
    ),
}


@pytest.fixture
def benchmark(monkeypatch, capsys):
    """Run a benchmark by its name with arguments: its exit status and what it printed."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))  # put back what the benchmark sets
    monkeypatch.syspath_prepend(BENCHMARKS)

    def run(name, arguments):
        monkeypatch.setattr("sys.argv", [f"{name}.py", *arguments, "--repeats", "2"])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
        return int(end.value.code), capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", CASES)
def test_results_are_equal(name, benchmark):
    arguments, _, _ = CASES[name]
    status, printed = benchmark(name, arguments)
    assert status == 0, printed
    assert "| equal |" in printed
    assert "DIFFERENT" not in printed


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_result_is_noticed(name, benchmark, monkeypatch):
    arguments, (module, function), spoil = CASES[name]
    right = getattr(module, function)
    monkeypatch.setattr(module, function, lambda *a, **k: spoil(right(*a, **k)))
    status, printed = benchmark(name, arguments)
    assert status == 1
    assert "DIFFERENT" in printed


def test_rates_and_ratios_are_those_of_the_clock(benchmark, monkeypatch, capsys):
    """Ways that take 2 s, and 1, 4 and 8 s: 10 pictures are 5 a second, and 1.25 to 10."""
    import side_by_side

    clock = 0.0
    durations = iter([0, 1, 4, 8])  # the first run is not timed
    order = []

    def ours():
        nonlocal clock
        order.append("ours")
        clock += 2
        return "result"

    def other():
        nonlocal clock
        order.append("other")
        clock += next(durations)
        return "result"

    monkeypatch.setattr(side_by_side.time, "perf_counter", lambda: clock)
    assert side_by_side.compare({"ours": ours, "other": other}, str.__eq__, 10, "pictures", repeats=3)
    printed = capsys.readouterr().out
    assert side_by_side.processor() in printed
    assert "| ours | 5 (5 to 5) | | |" in printed
    assert "| other | 2.5 (1.25 to 10) | 2 (0.5 to 4) | equal |" in printed
    assert order == ["ours", "other"] * 2 + ["other", "ours"] + ["ours", "other"]
