"""The benchmark of verification's quality: its measures, its split, and a whole run on a few photographs."""

import os
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from copytrace import metrics

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """The names of a benchmark, as of a module."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    monkeypatch.syspath_prepend(BENCHMARKS)
    return lambda name: SimpleNamespace(**runpy.run_path(str(BENCHMARKS / f"{name}.py")))


def test_recall_of_weighted_rankings_is_that_of_the_ranking_with_its_copies(load):
    quality, draw = load("verification_quality"), np.random.default_rng(0)
    for _ in range(20):
        hits = draw.random(60) < 0.7
        weights = draw.integers(0, 3, (4, 60))
        positives = weights @ hits + 5
        found = quality.evaluation.recall_at_p90(hits, weights, positives)
        for row, weight in enumerate(weights):
            ranked = np.repeat(hits, weight)
            wanted, _ = metrics.recall_at_precision(-np.arange(len(ranked)), ranked, positives[row])
            assert found[row] == pytest.approx(wanted)


def test_overlap_of_boxes(load):
    """Half of each box shared: 1/3; the same: 1; apart, or none found: 0."""
    found = [(0, 0, 2, 1), (0, 0, 2, 1), (5, 5, 6, 6), (np.nan,) * 4]
    true = [(1, 0, 3, 1), (0, 0, 2, 1), (0, 0, 1, 1), (0, 0, 1, 1)]
    names = [f"{prefix}query_{side}" for prefix in ("", "true_") for side in ("x0", "y0", "x1", "y1")]
    pairs = pd.DataFrame([(*one, *other) for one, other in zip(found, true)], columns=names)
    overlap = load("verification_quality").intersection_over_union(pairs, "query")
    assert overlap == pytest.approx([1 / 3, 1, 0, 0])


def test_what_is_fitted_to_is_free_and_is_not_measured_on(load, tmp_path):
    licences = "CC0 1.0 (x)", "CC BY 4.0 (y)", "CC BY-SA 4.0 (z)", "research"
    rows = [(f"T{i}", "training", licences[i % 4]) for i in range(60)]
    rows += [(f"R{i}", "references", "CC0 1.0 (x)") for i in range(20)]
    pd.DataFrame(rows, columns=["image_id", "split", "licence"]).to_csv(tmp_path / "metadata.csv", index=False)
    pairs = load("verified_pairs")
    table = pairs.photographs(tmp_path)
    fitting = table[pairs.for_fitting(table)]
    assert len(fitting) == 20 and fitting.split.unique().tolist() == ["training"]
    assert set(fitting.licence) == {"CC0 1.0 (x)", "CC BY 4.0 (y)"}
    assert table.path[0] == str(tmp_path / "training" / "T0.jpg")


@pytest.mark.skipif(
    not {"COPYTRACE_PHOTOS", "COPYTRACE_WEIGHTS"} <= set(os.environ), reason="needs photographs and a network"
)
def test_a_run_on_a_few_photographs(load, tmp_path, monkeypatch, capsys):
    """Every table is there; the trees that ship find most copies, and the boxes are where the edits put them."""
    quality = load("verification_quality")
    counts = {"references": 30, "background": 40, "copies": 19, "negatives": 4, "pool": 6, "look-alikes": 4}
    counts |= {"collages": 2}
    flags = [word for name, count in counts.items() for word in (f"--{name}", str(count))]
    arguments = ["--photographs", os.environ["COPYTRACE_PHOTOS"], "--output", str(tmp_path), *flags]
    monkeypatch.setattr("sys.argv", ["verification_quality.py", *arguments])
    quality.main()
    printed = capsys.readouterr().out
    assert (tmp_path / "quality.md").read_text().strip() == printed.strip()
    for name in (*quality.edits.KINDS, *("global descriptor", "+ fusion", "network, as it is and mirrored")):
        assert f"| {name.replace('_', ' ')} | " in printed
    pairs, truth = pd.read_parquet(tmp_path / "pairs.parquet"), pd.read_parquet(tmp_path / "truth.parquet")
    for kind in (*quality.verified_pairs.COLLAGES, quality.verified_pairs.PASTED):
        assert f"| {kind} | 2 | " in printed
    assert truth.role.value_counts().to_dict() == {"copy": 19, "negative": 4, "look-alike": 4}
    copies = pairs.merge(truth[truth.role == "copy"], on=["query_id", "reference_id"])
    located = copies[copies.inliers >= 40]
    assert len(located) >= 8
    assert np.median(quality.intersection_over_union(located, "query")) > 0.97
    assert np.median(quality.intersection_over_union(located, "reference")) > 0.97
