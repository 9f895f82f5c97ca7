"""What goes wrong on a cluster, on a real SLURM of one node. Run by `make test-faults`; `-m ci` are the quickest.

Every drill starts from a copy of a finished run of which some results were removed, goes wrong, is mended as
docs/cluster.md says, and must end with the undisturbed run's matches, byte for byte, nothing else done again.
"""

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
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
from cluster import PROFILE, booked, drained, slurm
from running import skip_or_fail, snakemake

SYNTHESISED = "results/synthesis/baseline_CC/0-of-1.tar"
MODEL = "results/models/baseline_CC.tiny.safetensors"
WHITENING = "results/descriptors/baseline_CC/whitening.h5"
DESCRIBED = "results/descriptors/baseline_CC/queries/0-of-1.h5"
NORMALISATION = "results/matching/normalisation/baseline_CC/0-of-1.h5"
SEARCHED = "results/matching/parts/baseline_CC/0-of-1.parquet"
PAIRS = "results/matching/baseline_CC.parquet"
VOTED = "results/ensembling/baseline_CC.parquet"

# Each is made from the one before it; beside it all that its stage makes.
STAGES = {
    SYNTHESISED: "synthesis/**/*",
    MODEL: "models/*",
    WHITENING: "descriptors/*/*",
    DESCRIBED: "descriptors/*/*/*",
    NORMALISATION: "matching/normalisation/**/*",
    SEARCHED: "matching/parts/**/*",
    PAIRS: "matching/*",
    VOTED: "ensembling/*",
    MATCHES: "matching.csv",
}

NO_RETRY = ("--retries", "0")  # where every attempt would end alike


@pytest.fixture(scope="module")
def undisturbed(cluster, tmp_path_factory):
    """The folder of a finished run."""
    folder = clone(tmp_path_factory.mktemp("undisturbed") / "copytrace")
    run = snakemake(folder, "--cores", "2", MATCHES, **options(folder))
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    return folder


@pytest.fixture
def drill(undisturbed, tmp_path):
    """A copy of the finished run."""
    return Path(shutil.copytree(undisturbed, tmp_path / "copytrace", symlinks=True))


def made_before(folder: Path, first: str) -> dict[Path, int]:
    """When the stages before a result made what they made."""
    order = list(STAGES)
    earlier = [STAGES[name] for name in order[: order.index(first)]]
    return times(folder, "images/**/*", "pretraining/*", "parts/**/*", *earlier)


def unfinished(folder: Path, first: str) -> dict[Path, int]:
    """Remove a result and all that is made from it; when what is left was made, which must not be made again."""
    order = list(STAGES)
    for name in order[order.index(first) :]:
        (folder / name).unlink()
    return made_before(folder, first)


def on_cluster(folder: Path, *arguments: str):
    """The documented command at work in a clone."""
    return at_work(folder, MATCHES, *PROFILE, *arguments)


def run_id(folder: Path) -> str | None:
    """The SLURM run ID that a run has printed, under which its jobs are queued."""
    lines = (folder / "terminal").read_text().splitlines()
    return next((line.split()[-1] for line in lines if line.startswith("SLURM run ID:")), None)


def jobs_of(folder: Path, rule: str) -> pd.DataFrame:
    """The jobs that the present run has submitted for a rule."""
    jobs = booked()
    return jobs[(jobs.name == run_id(folder)) & (jobs.rule == rule)].reset_index(drop=True)


def is_in_state(folder: Path, rule: str, state: str) -> bool:
    """Whether a rule's latest job is in a state, as SLURM calls it."""
    jobs = jobs_of(folder, rule)
    return len(jobs) > 0 and jobs.state.iloc[-1] == state


def complete(folder: Path, undisturbed: Path, kept: dict[Path, int]) -> None:
    """What has to be true after each drill."""
    assert (folder / MATCHES).read_bytes() == (undisturbed / MATCHES).read_bytes()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert planned_in(folder, *PROFILE) == {}


def succeeds(folder: Path) -> None:
    """The same command again runs to its end."""
    with on_cluster(folder) as run:
        status, terminal = finish(run, folder)
    assert status == 0, terminal[-6000:]


@pytest.mark.ci
def test_a_job_killed_for_memory_is_tried_again_with_twice_as_much(drill, undisturbed):
    kept = unfinished(drill, MATCHES)
    (drill / "kill-combine_families").touch()
    succeeds(drill)
    attempts = jobs_of(drill, "combine_families")
    assert attempts.state.tolist() == ["FAILED", "COMPLETED"]
    assert attempts.memory.tolist() == [12_000, 24_000]
    assert attempts.time.tolist() == [120, 240]
    complete(drill, undisturbed, kept)


def test_a_training_out_of_time_goes_on_from_its_checkpoint_with_twice_the_time(drill, undisturbed):
    kept = unfinished(drill, MODEL)
    shutil.rmtree(drill / "results" / "checkpoints")
    (drill / "hold-20").touch()
    with on_cluster(drill) as run:
        wait_for(lambda: half_checkpoint(drill, 20) is not None, run, drill)
        assert max(checkpoints(drill)) == 15
        first = jobs_of(drill, "train_model")
        # Its limit is two days: bring the end forward instead of waiting.
        slurm("scontrol", "update", f"JobId={first.id[0]}", "EndTime=now")
        wait_for(lambda: jobs_of(drill, "train_model").state[0] == "TIMEOUT", run, drill)
        (drill / "hold-20").unlink()
        status, terminal = finish(run, drill)
    assert status == 0, terminal[-6000:]
    assert went_on_from(drill, 15) or went_on_from(drill, 20)  # SIGTERM lets it save the step that it was at
    second = jobs_of(drill, "train_model").iloc[1]
    assert (second.state, second.time, second.memory) == ("COMPLETED", 2 * first.time[0], 2 * first.memory[0])
    complete(drill, undisturbed, kept)


def test_a_cancelled_job_is_submitted_again(drill, undisturbed):
    kept = unfinished(drill, MATCHES)
    (drill / "hold-combine_families").touch()
    with on_cluster(drill) as run:
        wait_for(lambda: is_in_state(drill, "combine_families", "RUNNING"), run, drill)
        slurm("scancel", jobs_of(drill, "combine_families").id[0])
        wait_for(lambda: len(jobs_of(drill, "combine_families")) == 2, run, drill)
        (drill / "hold-combine_families").unlink()
        status, terminal = finish(run, drill)
    assert status == 0, terminal[-6000:]
    assert jobs_of(drill, "combine_families").state.tolist() == ["CANCELLED", "COMPLETED"]
    complete(drill, undisturbed, kept)


def test_ctrl_c_cancels_the_jobs_and_the_same_command_goes_on(drill, undisturbed):
    kept = unfinished(drill, MATCHES)
    (drill / "hold-combine_families").touch()
    with on_cluster(drill) as run:
        wait_for(lambda: is_in_state(drill, "combine_families", "RUNNING"), run, drill)
        os.killpg(run.pid, signal.SIGINT)
        status, _ = finish(run, drill)
    assert status != 0
    assert is_in_state(drill, "combine_families", "CANCELLED")
    (drill / "hold-combine_families").unlink()
    succeeds(drill)
    complete(drill, undisturbed, kept)


@pytest.mark.ci
def test_snakemake_is_killed_while_its_jobs_run(drill, undisturbed):
    kept = unfinished(drill, VOTED)
    (drill / "hold-combine_families").touch()
    with on_cluster(drill) as run:
        wait_for(lambda: is_in_state(drill, "combine_families", "RUNNING"), run, drill)
        run.kill()
        finish(run, drill)
    kept |= times(drill, "ensembling/*")  # finished meanwhile
    assert is_in_state(drill, "combine_families", "RUNNING")
    left_over = run_id(drill)

    with on_cluster(drill) as run:
        status, terminal = finish(run, drill)
    assert status != 0
    assert "unlock" in terminal

    slurm("scancel", "--name", left_over)
    unlock(drill)
    (drill / "hold-combine_families").unlink()
    succeeds(drill)
    assert booked().query("name == @left_over").state.tolist() == ["COMPLETED", "CANCELLED"]
    complete(drill, undisturbed, kept)


def test_a_node_is_drained_and_comes_back_while_jobs_wait(drill, undisturbed):
    kept = unfinished(drill, VOTED)
    (drill / "hold-vote_backbones").touch()
    with on_cluster(drill) as run:
        wait_for(lambda: is_in_state(drill, "vote_backbones", "RUNNING"), run, drill)
        with drained():
            (drill / "hold-vote_backbones").unlink()
            wait_for(lambda: is_in_state(drill, "combine_families", "PENDING"), run, drill)
            assert is_in_state(drill, "vote_backbones", "COMPLETED")
        status, terminal = finish(run, drill)
    assert status == 0, terminal[-6000:]
    complete(drill, undisturbed, kept)


@contextmanager
def small_disk(folder: Path):
    """A file system of one page in the place of a folder, which becomes empty; yields how to make room."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        skip_or_fail(f"a full disk needs mount: {mounted.stderr}")
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
    finally:
        subprocess.run(["umount", folder], check=True)


def test_the_disk_is_full_while_a_shard_is_written(drill, undisturbed):
    kept = unfinished(drill, DESCRIBED)
    with small_disk((drill / DESCRIBED).parent) as make_room:
        with on_cluster(drill, *NO_RETRY) as run:
            status, terminal = finish(run, drill)
        assert status != 0
        assert f"error: {DESCRIBED} can't be written (No space left on device): make room and run" in terminal
        assert list((drill / DESCRIBED).parent.iterdir()) == []
        make_room()
        succeeds(drill)
        complete(drill, undisturbed, kept)


@pytest.mark.parametrize(
    ("shard", "made_from_it", "reader"),
    [
        (SYNTHESISED, MODEL, "train_model"),
        (DESCRIBED, NORMALISATION, "normalise_queries"),
        (SEARCHED, PAIRS, "merge_pairs"),
        (PAIRS, VOTED, "vote_backbones"),
    ],
)
def test_a_shard_that_was_cut_off_is_named_and_made_again(drill, undisturbed, shard, made_from_it, reader):
    """Needs no cluster: what the jobs say is the same."""
    kept = made_before(drill, shard)
    unfinished(drill, made_from_it)
    os.truncate(drill / shard, (drill / shard).stat().st_size // 2)
    with at_work(drill, "--cores", "2", MATCHES) as run:
        status, terminal = finish(run, drill)
    assert status != 0
    assert f"Error in rule {reader}" in terminal
    sentence = next(line.strip() for line in terminal.splitlines() if line.strip().startswith("error: "))
    assert sentence.startswith(f"error: {shard} ")
    assert sentence.endswith("delete it and run the same command again")
    (drill / shard).unlink()
    with at_work(drill, "--cores", "2", MATCHES) as run:
        status, terminal = finish(run, drill)
    assert status == 0, terminal[-6000:]
    complete(drill, undisturbed, kept)


@pytest.mark.ci
def test_the_configuration_is_edited_while_jobs_wait(drill, undisturbed):
    kept = unfinished(drill, MATCHES)
    configuration = drill / "config.yaml"
    text = configuration.read_text()
    edited = text.replace("\n  rows_per_query: 10\n", "\n  rows_per_query: 5\n")
    assert edited != text
    with on_cluster(drill, *NO_RETRY) as run:
        with drained():
            wait_for(lambda: is_in_state(drill, "combine_families", "PENDING"), run, drill)
            configuration.write_text(edited)
        status, terminal = finish(run, drill)
    assert status != 0
    assert "changed since this run began (ensembling.rows_per_query: 10, now 5)" in terminal
    assert not (drill / MATCHES).exists()

    succeeds(drill)  # with the new value
    assert (drill / MATCHES).read_bytes() != (undisturbed / MATCHES).read_bytes()

    configuration.write_text(text)
    succeeds(drill)
    complete(drill, undisturbed, kept)
