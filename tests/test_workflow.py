"""The whole workflow at micro size, as a user runs it: `snakemake`, in a folder of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

REPOSITORY = Path(__file__).parent.parent
MICRO = REPOSITORY / "tests" / "configuration" / "micro.yaml"


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run snakemake on the repository's Snakefile with `folder` as the working directory."""
    shutil.copy(REPOSITORY / "config.yaml", folder)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(MICRO), *arguments]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("micro")
    run = snakemake(folder, "--cores", "2")
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    return folder


def test_matches_are_written_sorted_and_within_bounds(finished):
    matches = pd.read_csv(finished / "results" / "matching.csv")
    assert list(matches.columns) == ["query_id", "reference_id", "score"]
    assert 0 < len(matches) <= 10 * 24
    assert matches.score.is_monotonic_decreasing
    assert not matches.duplicated(["query_id", "reference_id"]).any()
    assert set(matches.query_id) <= {f"Q{i:05d}" for i in range(24)}
    assert set(matches.reference_id) <= {f"R{i:06d}" for i in range(40)}


def test_evaluation_has_every_row_of_the_ablation(finished):
    result = json.loads((finished / "results" / "evaluation" / "matching.json").read_text())
    groups = {row["group"] for row in result["rows"]}
    names = {row["name"] for row in result["rows"]}
    assert {f"{f}.{b}" for f in ("baseline_CC", "face_BW") for b in ("tiny", "tiny_ibn_a", "tiny_12")} <= names
    assert len(groups) >= 4
    assert all(0 <= row["micro_ap"] <= 1 for row in result["rows"])
    gain = json.loads((finished / "results" / "evaluation" / "training_gain.json").read_text())
    assert gain["copies"] == 12
    assert len(gain["rows"]) == 6


def test_every_job_says_how_fast_it_was(finished):
    logs = list((finished / "results" / "logs").rglob("*.log"))
    silent = [log for log in logs if "peak memory" not in log.read_text()]
    cheap = {"list_images", "merge_manifests", "collect_rejected", "check_ground_truth"}
    assert not [log for log in silent if not cheap & {log.stem, log.parent.name}]


def test_no_checkpoint_is_left_behind(finished):
    assert not list((finished / "results" / "checkpoints").rglob("*.ckpt"))


def test_a_second_run_does_nothing(finished):
    run = snakemake(finished, "--cores", "2")
    assert run.returncode == 0
    assert "Nothing to be done" in run.stdout + run.stderr


def test_summary_and_graphs(finished):
    summary = snakemake(finished, "--summary")
    assert summary.returncode == 0
    assert "results/matching.csv" in summary.stdout
    graph = snakemake(finished, "--rulegraph")
    assert graph.returncode == 0
    assert "digraph" in graph.stdout


def test_one_familys_setting_reruns_only_what_depends_on_it(finished):
    dry = snakemake(finished, "-n", "--quiet", "rules", "--config", 'family_table={"face_BW": {"steps": 6}}')
    assert dry.returncode == 0, dry.stderr
    lines = [line for line in dry.stdout.splitlines() if line.startswith("train_model")]
    assert lines, dry.stdout
    assert lines[0].split()[1] == "3"
    assert not [line for line in dry.stdout.splitlines() if line.startswith(("synthesise", "draw_sample"))]


def test_other_shards_give_the_same_matches(finished, tmp_path):
    """Scores agree to 1e-5 and pairs too, but for those within 1e-5 of the cut."""
    shutil.copytree(finished / "results", tmp_path / "results")
    shutil.copytree(finished / ".snakemake", tmp_path / ".snakemake", ignore=shutil.ignore_patterns("locks"))
    run = snakemake(
        tmp_path, "--cores", "2", "results/matching.csv",
        "--config", 'images={"shards": {"training": 1, "references": 3, "queries": 1}}',
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-4000:]
    before = pd.read_csv(finished / "results" / "matching.csv").set_index(["query_id", "reference_id"]).score
    after = pd.read_csv(tmp_path / "results" / "matching.csv").set_index(["query_id", "reference_id"]).score
    both = before.index.intersection(after.index)
    assert (before[both] - after[both]).abs().max() <= 1e-5
    cut = min(before.min(), after.min()) + 1e-5
    assert (before.drop(both) <= cut).all()
    assert (after.drop(both) <= cut).all()
