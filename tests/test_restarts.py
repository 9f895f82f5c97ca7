"""What survives an edit, a kill and a full disk: the runs are real ones, in a copy of the repository."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

REPOSITORY = Path(__file__).parent.parent
MATCHES = "results/matching.csv"
MODEL = "results/models/baseline_CC.tiny.safetensors"
TRAINING_LOG = "results/logs/train_model/baseline_CC.tiny.log"

# One family, one backbone, and a training that is long enough to be killed amid.
SMALL = """
images: {shards: {training: 1, references: 1, queries: 1, validation: 1}}
families: [baseline_CC]
backbones: [tiny]
scales: [32]
synthesis: {shards: 1}
backbone_table: {tiny: {network: resnet10_tiny, weights: {source: none}}}
training: {steps: 400}
parts: {kinds: [whole, mirror, selective_search]}
tiles: {families: [], scales: []}
ensembling: {vote: 1, tile_vote: 1}
evaluation: {untrained_families: []}
execution: {checkpoint_every: 5}
"""


def clone(folder: Path) -> Path:
    """The repository as a user has it, with the small configuration."""
    others = shutil.ignore_patterns(".git", ".venv", ".snakemake", "results", "tests", "docs", "__pycache__", ".*_cache")
    shutil.copytree(REPOSITORY, folder, ignore=others)
    shutil.copy(REPOSITORY / "tests" / "configuration" / "micro.yaml", folder)
    (folder / "small.yaml").write_text(SMALL)
    return folder


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    """Start `snakemake` in a process group of its own, as a terminal does; its output goes to the file `terminal`."""
    command = [sys.executable, "-m", "snakemake", *arguments, "--configfile", "micro.yaml", "small.yaml"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with (folder / "terminal").open("w") as terminal:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=terminal, stderr=subprocess.STDOUT, start_new_session=True
        )


def finish(run: subprocess.Popen, folder: Path) -> tuple[int, str]:
    """Wait for a run: (exit status, what stood on the terminal)."""
    status = run.wait(timeout=300)
    return status, (folder / "terminal").read_text()


def made(folder: Path) -> str:
    """Run the documented command to its end, which must be good; returns what stood on the terminal."""
    status, terminal = finish(start(folder, "--cores", "2", MATCHES), folder)
    assert status == 0, terminal[-6000:]
    return terminal


def wait_for(condition, run: subprocess.Popen, folder: Path):
    """The condition's value, as soon as it is true, while the run goes on."""
    while not (value := condition()):
        assert run.poll() is None, (folder / "terminal").read_text()[-6000:]
        time.sleep(0.02)
    return value


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = clone(tmp_path_factory.mktemp("undisturbed") / "copytrace")
    made(folder)
    return folder


def planned(folder: Path) -> dict[str, int]:
    """Jobs per rule that `snakemake -n` names."""
    status, terminal = finish(start(folder, "-n", MATCHES), folder)
    assert status == 0, terminal
    table = terminal.rpartition("Job stats:")[2]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.M) if rule != "total"}


def test_an_edited_module_reruns_only_what_imports_it(undisturbed):
    module = undisturbed / "workflow_scripts" / "copytrace" / "proposals.py"
    text = module.read_text()
    assert planned(undisturbed) == {}
    try:
        module.write_text("# A comment\n" + text.replace('"""', '"""Said otherwise: ', 1))
        assert planned(undisturbed) == {}
        module.write_text(text + "\nADDED = 1\n")
        assert planned(undisturbed) == {
            "cut_query_parts": 1,
            "merge_query_parts": 1,
            "describe": 1,
            "match_parts": 1,
            "vote_backbones": 1,
            "combine_families": 1,
        }
    finally:
        module.write_text(text)


def newest_checkpoint(folder: Path) -> int:
    """The step of the newest checkpoint of the training; 0: none."""
    found = (folder / "results" / "checkpoints").rglob("step-*.ckpt")
    return max((int(path.stem.split("-")[1]) for path in found), default=0)


def in_training(folder: Path, beyond: int) -> tuple[subprocess.Popen, psutil.Process]:
    """Start a run and wait until its training has a checkpoint beyond a step: the run, and the training's process."""
    run = start(folder, "--cores", "2", MATCHES)
    wait_for(lambda: newest_checkpoint(folder) > beyond, run, folder)
    jobs = [
        process
        for process in psutil.Process(run.pid).children(recursive=True)
        if process.name().startswith("python") and any("train_model.py" in word for word in process.cmdline())
    ]
    assert len(jobs) == 1
    assert not (folder / MODEL).exists()
    return run, jobs[0]


def resumed_from(folder: Path) -> int:
    """The step that the training's log says it went on from."""
    return int(re.search(r"going on from step (\d+) of 400", (folder / TRAINING_LOG).read_text())[1])


def unlock(folder: Path) -> None:
    status, terminal = finish(start(folder, "--unlock"), folder)
    assert status == 0, terminal


def test_killed_again_and_again_the_matches_have_the_same_bytes(undisturbed, tmp_path):
    folder = clone(tmp_path / "copytrace")

    # The whole run, early.
    run = start(folder, "--cores", "2", MATCHES)
    wait_for((folder / "results" / "images" / "training.parquet").exists, run, folder)
    os.killpg(run.pid, signal.SIGKILL)
    finish(run, folder)
    status, terminal = finish(start(folder, "--cores", "2", MATCHES), folder)
    assert status != 0
    assert "unlock" in terminal
    unlock(folder)
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("results/images/shards/*/*.parquet")}
    assert finished

    # The whole run, in the middle of the training.
    run, _ = in_training(folder, beyond=0)
    os.killpg(run.pid, signal.SIGKILL)
    finish(run, folder)
    unlock(folder)
    step = newest_checkpoint(folder)

    # One job.
    run, job = in_training(folder, beyond=step)
    assert resumed_from(folder) == step
    job.kill()
    status, terminal = finish(run, folder)
    assert status != 0
    assert "Error in rule train_model" in terminal
    step = newest_checkpoint(folder)

    # Ctrl-C, which the terminal sends to all of the group.
    run, _ = in_training(folder, beyond=step)
    assert resumed_from(folder) == step
    os.killpg(run.pid, signal.SIGINT)
    status, terminal = finish(run, folder)
    assert status != 0
    step = newest_checkpoint(folder)
    print(terminal)

    # A job that somebody ends.
    run, job = in_training(folder, beyond=step)
    assert resumed_from(folder) == step
    job.terminate()
    status, terminal = finish(run, folder)
    assert status != 0
    assert "Error in rule train_model" in terminal
    assert "ended by SIGTERM after step" in terminal
    print(terminal)
    step = newest_checkpoint(folder)

    # Snakemake alone. Its training is left over, stops for a moment, and works on beside the one of the next run.
    run, leftover = in_training(folder, beyond=step)
    leftover.suspend()
    run.kill()
    finish(run, folder)
    unlock(folder)
    step = newest_checkpoint(folder)
    run = start(folder, "--cores", "2", MATCHES)
    wait_for(lambda: "going on" in (folder / TRAINING_LOG).read_text(), run, folder)
    leftover.resume()
    status, terminal = finish(run, folder)
    assert status == 0, terminal[-6000:]
    assert resumed_from(folder) == step

    assert (folder / MATCHES).read_bytes() == (undisturbed / MATCHES).read_bytes()
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert planned(folder) == {}
