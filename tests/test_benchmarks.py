"""The benchmarks at a tiny size: equal results pass, and a wrong result of the library is noticed."""

import dataclasses
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from running import DEADLINE

from copytrace import descriptors, ensembling, imaging, matching, pdq, proposals
from copytrace.synthesis import operations
from copytrace.verification import geometry

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

# each benchmark's arguments; a function of the library that it measures; what is done to its result
CASES = {
    "decoding": (
        ["--side", "64", "--count", "3"],
        (imaging, "load_image"),
        lambda picture: picture ^ 1,
    ),
    "describing": (
        ["--side", "64", "--count", "3", "--networks", "resnet10_tiny", "--scales", "48", "32"],
        (descriptors, "describe"),
        lambda described: {key: vectors[::-1] for key, vectors in described.items()},
    ),
    "search": (
        ["--queries", "60", "--references", "200", "--dimensions", "16", "--pairs", "180"],
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
    "verification": (
        ["--pairs", "2"],
        (geometry, "locate"),
        lambda found: found and dataclasses.replace(found, transform=np.eye(3) / 4),
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


def test_a_share_below_the_wanted_one_ends_describing_with_status_1(benchmark):
    arguments, _, _ = CASES["describing"]
    status, printed = benchmark("describing", [*arguments, "--minimum", "1000"])
    assert status == 1
    assert "DIFFERENT" not in printed


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


def test_matching_at_size_compares_one_job_with_several(tmp_path, monkeypatch):
    """At a tiny share of the paper's size; the memory of a job that has next to no data is below its bound."""
    arguments = ["--share", "0.0002", "--dimensions", "16", "--shards", "2", "--folder", tmp_path]
    command = [sys.executable, BENCHMARKS / "matching_at_size.py", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("pairs equal") == 2
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| m")]
    assert [row[0] for row in rows] == ["| match_parts, references", "| merge_pairs, references"] * 2 + [
        "| match_parts, tiles", "| merge_pairs, tiles"
    ] * 2  # fmt: skip
    assert all(row[-1] == "True |" for row in rows)


def test_pretraining_is_measured_on_copies_of_unseen_photographs(tmp_path, monkeypatch, capsys):
    """One step each on a few drawn pictures: the ways of all weights to their figures."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    monkeypatch.syspath_prepend(BENCHMARKS)
    draw = np.random.default_rng(0)
    for role, number in (("training", 8), ("references", 5)):
        (tmp_path / "photographs" / role).mkdir(parents=True)
        for i in range(number):
            picture = draw.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(picture).resize((64, 64)).save(tmp_path / "photographs" / role / f"{role[0]}{i}.png")
    arguments = ["--photographs", str(tmp_path / "photographs"), "--output", str(tmp_path / "out"), "--seeds", "1"]
    arguments += ["--networks", "resnet10_tiny", "--steps", "2", "--side", "32", "--copies", "12"]
    arguments += ["--settings", '{"barlow_twins": {"batch": 4}, "momentum_teacher": {"batch": 4}}']
    monkeypatch.setattr("sys.argv", ["pretraining.py", *arguments])
    runpy.run_path(str(BENCHMARKS / "pretraining.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "8 training photographs, 12 copies among 5 references, 32 px, 2 steps, 1 seeds" in printed
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| resnet10_tiny")]
    assert [row[1] for row in rows] == [
        "random", "random, batch norm calibrated", "barlow_twins", "momentum_teacher"
    ]  # fmt: skip
    scores = [float(row[2].split()[0]) for row in rows]
    assert all(0.1 < score < 1 for score in scores)  # 12 pairs of 60 are right
    assert len(set(scores)) == 4


def test_a_benchmark_of_runs_shows_why_one_fails(tmp_path):
    command = [sys.executable, BENCHMARKS / "descriptor_track.py", "--output", tmp_path, "--settings", "{seeed: 1}"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert run.returncode != 0
    assert "config: seeed is not a setting; did you mean seed?" in run.stderr
