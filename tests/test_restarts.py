"""What survives a full disk, an edit and a kill; the runs are real ones, in a copy of the repository."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from clones import (
    MATCHES,
    at_work,
    checkpoints,
    clone,
    finish,
    half_checkpoint,
    options,
    planned_in,
    times,
    unlock,
    wait_for,
    went_on_from,
)
from matplotlib.figure import Figure
from running import REPOSITORY, snakemake

from copytrace import manifests, runtime
from copytrace.descriptor_files import write_descriptors, write_whitening
from copytrace.errors import NoRoom
from copytrace.networks.weights import save_weights
from copytrace.sample.queries import whole_directory
from copytrace.synthesis.tarset import write_shard
from copytrace.whitening import Whitening

MODEL = "results/models/baseline_CC.tiny.safetensors"


NUMBERS = np.random.default_rng(0).random((100, 100))
PARTS = pd.DataFrame({"image_id": [f"{i}" for i in range(100)], "part": 0})


def write_tar(path: Path) -> None:
    with runtime.atomic_output(path) as temporary:
        write_shard(temporary, path.name, [(0, copy, NUMBERS.tobytes()) for copy in range(3)])


def write_figure(path: Path) -> None:
    figure = Figure()
    figure.add_subplot().imshow(NUMBERS)
    with runtime.atomic_output(path) as temporary:
        figure.savefig(temporary)


def write_folder(path: Path) -> None:
    with whole_directory(path) as folder:
        (folder / "picture").write_bytes(NUMBERS.tobytes())


WRITERS = {
    "table.csv": lambda path: manifests.write_table(pd.DataFrame(NUMBERS), path),
    "table.parquet": lambda path: manifests.write_table(pd.DataFrame(NUMBERS), path),
    "model.safetensors": lambda path: save_weights(path, {"weights": torch.from_numpy(NUMBERS)}, {}),
    "descriptors.h5": lambda path: write_descriptors(path, PARTS, {("f.b", 32): NUMBERS}, {"f.b": {"network": "x"}}),
    "whitening.h5": lambda path: write_whitening(path, {("f.b", 32): Whitening(NUMBERS[0], NUMBERS)}),
    "set.tar": write_tar,
    "figure.png": write_figure,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("limit", [0, 10_000])
def test_a_writer_without_room_names_its_file_and_leaves_nothing(tmp_path, name, limit):
    """A limit on the size of files takes the place of a full disk: writing fails in the same way."""
    path = tmp_path / name
    path.write_bytes(b"from the run before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(NoRoom) as failure:
            WRITERS[name](path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(failure.value) == f"{path} can't be written (File too large): make room and run the same command again"
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert path.read_bytes() == b"from the run before"
    WRITERS[name](path)
    assert path.stat().st_size > 10_000


def test_a_folder_without_room_is_not_left_in_part(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(NoRoom, match=r"drawn can't be written \(File too large\)"):
            write_folder(tmp_path / "drawn")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".drawn.0123abc_").mkdir()  # what a killed writer left
    write_folder(tmp_path / "drawn")
    assert [entry.name for entry in tmp_path.iterdir()] == ["drawn"]


def test_a_full_disk_is_called_so(tmp_path):
    with (
        pytest.raises(NoRoom, match=r"a\.txt can't be written \(No space left on device\)"),
        runtime.atomic_output(tmp_path / "a.txt"),
    ):
        Path("/dev/full").write_text("always full")


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.csv"), runtime.atomic_output(tmp_path / "a.txt"):
        (tmp_path / "missing.csv").read_text()


def test_a_script_without_room_says_one_sentence(tmp_path):
    size = np.full(1000, 640)
    ids = [f"{i:04d}" for i in range(1000)]
    manifests.write_table(pd.DataFrame({"image_id": ids, "width": size, "height": size}), tmp_path / "m.parquet")
    script = [sys.executable, str(REPOSITORY / "workflow_scripts" / "cut_reference_tiles.py"), "--references"]
    script += [str(tmp_path / "m.parquet"), "--tiles", '{"kinds": ["whole"]}', "--output", str(tmp_path / "t.parquet")]
    limited = ["bash", "-c", 'ulimit -f 4; exec "$@"', "bash", *script]  # 4 KiB
    done = subprocess.run(limited, capture_output=True, text=True)
    assert done.returncode == 2
    sentence = f"{tmp_path / 't.parquet'} can't be written (File too large): make room and run the same command again"
    assert done.stderr.splitlines()[-1] == f"error: {sentence}" and "Traceback" not in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.parquet"]


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    killed = "import os, signal, sys; from copytrace.runtime import atomic_output\n"
    killed += "with atomic_output(sys.argv[1]) as path: path.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    for name in ("[a].csv", "other.csv"):
        subprocess.run([sys.executable, "-c", killed, tmp_path / name], cwd=REPOSITORY / "workflow_scripts")
    left = {entry.name for entry in tmp_path.iterdir()}
    assert len(left) == 2
    assert all(name.startswith(".") for name in left)
    with runtime.atomic_output(tmp_path / "[a].csv") as temporary:
        temporary.write_text("whole")
    other = next(name for name in left if "other" in name)
    assert {entry.name for entry in tmp_path.iterdir()} == {"[a].csv", other}


def test_of_two_writers_of_a_file_the_later_stands(tmp_path):
    """The earlier one is the leftover of a run whose Snakemake alone was killed."""
    path = tmp_path / "a.csv"
    with pytest.raises(FileNotFoundError), runtime.atomic_output(path) as earlier:
        earlier.write_text("earlier")
        with runtime.atomic_output(path) as later:
            later.write_text("later")
    assert path.read_text() == "later"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.csv"]


@pytest.fixture
def start():
    """Start the documented command in a clone. None outlives the test."""
    with contextlib.ExitStack() as runs:
        yield lambda folder: runs.enter_context(at_work(folder, "--cores", "2", MATCHES))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = clone(tmp_path_factory.mktemp("undisturbed") / "copytrace")
    run = snakemake(folder, "--cores", "2", MATCHES, **options(folder))
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    return folder


def test_an_edited_module_reruns_only_what_imports_it(undisturbed):
    module = undisturbed / "workflow_scripts" / "copytrace" / "proposals.py"
    text = module.read_text()
    assert planned_in(undisturbed) == {}
    try:
        module.write_text("# A comment\n" + text.replace('"""', '"""Said otherwise: ', 1))
        assert planned_in(undisturbed) == {}
        module.write_text(text + "\nADDED = 1\n")
        assert planned_in(undisturbed) == {
            "cut_query_parts": 1,
            "merge_query_parts": 1,
            "describe": 1,
            "normalise_queries": 1,
            "match_parts": 1,
            "merge_pairs": 1,
            "vote_backbones": 1,
            "combine_families": 1,
        }
    finally:
        module.write_text(text)


def held(folder: Path, step: int, run: subprocess.Popen) -> psutil.Process:
    """The training of a run, when it has half written its checkpoint of a step, at which a file `hold-N` keeps it."""
    wait_for(lambda: half_checkpoint(folder, step) is not None, run, folder)
    assert max(checkpoints(folder)) == step - 5
    assert not (folder / MODEL).exists()
    return next(process for process in psutil.Process(run.pid).children(recursive=True) if is_training(process))


def is_training(process: psutil.Process) -> bool:
    """Whether a process is the training itself, not the shell around it."""
    try:
        return process.name().startswith("python") and any("train_model.py" in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False


def test_killed_again_and_again_the_matches_have_the_same_bytes(undisturbed, tmp_path, start):
    folder = clone(tmp_path / "copytrace")
    for step in (10, 15, 20, 25):
        (folder / f"hold-{step}").touch()

    # The whole run, early.
    run = start(folder)
    wait_for((folder / "results" / "images" / "training.parquet").exists, run, folder)
    os.killpg(run.pid, signal.SIGKILL)
    finish(run, folder)
    status, terminal = finish(start(folder), folder)
    assert status != 0
    assert "unlock" in terminal
    unlock(folder)
    finished = times(folder, "images/listings/training.parquet", "images/shards/training/*.parquet")

    # The whole run, in the middle of the training.
    run = start(folder)
    held(folder, 10, run)
    os.killpg(run.pid, signal.SIGKILL)
    finish(run, folder)
    unlock(folder)
    finished |= times(folder, "images/training.parquet", "synthesis/*/*", "pretraining/*")
    assert len(finished) == 6
    (folder / "hold-10").unlink()

    # One job.
    run = start(folder)
    job = held(folder, 15, run)
    assert went_on_from(folder, 5)
    job.kill()
    status, terminal = finish(run, folder)
    assert status != 0
    assert "Error in rule train_model" in terminal
    (folder / "hold-15").unlink()

    # Ctrl-C, which the terminal sends to all of the group.
    run = start(folder)
    held(folder, 20, run)
    assert went_on_from(folder, 10)
    os.killpg(run.pid, signal.SIGINT)
    status, terminal = finish(run, folder)
    assert status != 0
    (folder / "hold-20").unlink()

    # Snakemake alone: its training is left over, and meets the one of the next run at a checkpoint.
    run = start(folder)
    leftover = held(folder, 25, run)
    try:
        assert went_on_from(folder, 15)
        half = half_checkpoint(folder, 25)
        run.kill()
        finish(run, folder)
        unlock(folder)
        run = start(folder)
        wait_for(lambda: half_checkpoint(folder, 25) not in (half, None), run, folder)
        assert went_on_from(folder, 20)
        (folder / "hold-25").unlink()
        status, terminal = finish(run, folder)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):  # the later training has taken its checkpoint away
            leftover.kill()
    assert status == 0, terminal[-6000:]

    assert (folder / MATCHES).read_bytes() == (undisturbed / MATCHES).read_bytes()
    assert {path: path.stat().st_mtime_ns for path in finished} == finished  # no finished job was done again
    assert planned_in(folder) == {}
