"""Copies of the repository in which a small run is disturbed, held and taken up again."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from running import DEADLINE, MICRO, REPOSITORY, planned, snakemake, started

MATCHES = "results/matching.csv"

# One family, one backbone, and a training of eight checkpoints.
SMALL = """
images: {shards: {training: 1, references: 1, queries: 1, validation: 1}}
families: [baseline_CC]
backbones: [tiny]
scales: [32]
synthesis: {shards: 1}
backbone_table: {tiny: {network: resnet10_tiny, weights: {source: none}}}
training: {steps: 40}
parts: {kinds: [whole, mirror, selective_search]}
tiles: {families: [], scales: []}
second_submission: {families: []}
ensembling: {vote: 1, tile_vote: 1}
evaluation: {untrained_families: []}
execution: {checkpoint_every: 5}
"""

# Python reads a module of this name at its start. Files in the folder of the run say what it does to a script:
#   hold-NAME   it waits at its start, before it has done anything
#   hold-N      a training waits when it is about to name its checkpoint of step N
#   kill-NAME   it is killed at its start, as the kernel kills one for lack of memory; the file goes with it
# A held script waits as long as there is the file: however fast the machine is, it has not come to its end.
# And Snakemake looks at its cluster jobs every two seconds, instead of ever more seldom.
DISTURB = """
import asyncio, os, re, signal, sys, time

def wait(file):
    while os.path.exists(file):
        time.sleep(0.01)

def wait_at_checkpoint(event, arguments):
    name = re.search(r"/step-(\\d+)[.]ckpt$", str(arguments[1])) if event == "os.rename" else None
    if name:
        wait(f"hold-{name[1]}")

def sleep(seconds, *result, whole=asyncio.sleep):
    return whole(min(seconds, 2), *result)

if sys.orig_argv[1:3] == ["-m", "snakemake"]:
    asyncio.sleep = sleep
script = os.path.basename(sys.orig_argv[1]).removesuffix(".py") if len(sys.orig_argv) > 1 else ""
if script == "train_model":
    sys.addaudithook(wait_at_checkpoint)
wait(f"hold-{script}")
if os.path.exists(f"kill-{script}"):
    os.unlink(f"kill-{script}")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def clone(folder: Path, overlay: str = SMALL) -> Path:
    """The repository as a user has it, with a small configuration laid over that of the tests."""
    others = shutil.ignore_patterns(".*", "results", "tests", "docs", "__pycache__")
    shutil.copytree(REPOSITORY, folder, symlinks=True, ignore=others)
    (folder / "small.yaml").write_text(overlay)
    (folder / "disturb").mkdir()
    (folder / "disturb" / "sitecustomize.py").write_text(DISTURB)
    return folder


def options(folder: Path) -> dict[str, Any]:
    """What every run in a clone is started with."""
    variables = {"PYTHONPATH": f"{folder}/disturb"}
    return {"code": folder, "overlays": (MICRO, folder / "small.yaml"), "variables": variables}


@contextmanager
def at_work(folder: Path, *arguments: str) -> Iterator[subprocess.Popen]:
    """Snakemake at work in a clone; its output goes to the file `terminal`. It does not outlive the block."""
    with (folder / "terminal").open("w") as terminal:
        streams = {"stdout": terminal, "stderr": subprocess.STDOUT}
        with started(folder, *arguments, **streams, **options(folder)) as run:
            yield run


def finish(run: subprocess.Popen, folder: Path) -> tuple[int, str]:
    """Wait for a run: (exit status, what stood on the terminal)."""
    status = run.wait(DEADLINE)
    return status, (folder / "terminal").read_text()


def wait_for(condition: Callable[[], bool], run: subprocess.Popen, folder: Path) -> None:
    """Wait until a condition is true, while the run goes on."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert run.poll() is None and time.monotonic() < end, (folder / "terminal").read_text()[-6000:]
        time.sleep(0.02)


def planned_in(folder: Path, *arguments: str) -> dict[str, int]:
    """How many jobs of each rule a command for the matches would run."""
    return planned(snakemake(folder, "-n", MATCHES, *arguments, **options(folder)))


def times(folder: Path, *patterns: str) -> dict[Path, int]:
    """When the results that match were written: by jobs that had ended, because later ones have begun."""
    paths = [path for pattern in patterns for path in folder.glob(f"results/{pattern}") if path.is_file()]
    return {path: path.stat().st_mtime_ns for path in paths}


def unlock(folder: Path) -> None:
    """Take away the lock that a killed Snakemake left."""
    run = snakemake(folder, "--unlock", **options(folder))
    assert run.returncode == 0, run.stderr


def checkpoints(folder: Path) -> set[int]:
    """The steps of the training's checkpoints."""
    return {int(path.stem.split("-")[1]) for path in folder.glob("results/checkpoints/*/step-*.ckpt")}


def half_checkpoint(folder: Path, step: int) -> str | None:
    """The name of a checkpoint's file before it is whole, or None."""
    return next((path.name for path in folder.glob(f"results/checkpoints/*/.step-{step}.ckpt.*")), None)


def went_on_from(folder: Path, step: int) -> bool:
    """Whether the training's log says that it went on from this step."""
    log = folder / "results" / "logs" / "train_model" / "baseline_CC.tiny.log"
    return log.exists() and f"going on from step {step} of 40" in log.read_text()
