"""The workflow on a real SLURM of one node, with the profile that users take. Run by `make test-slurm`.

Needs root, mknod and Debian's SLURM (`tests/one-node-slurm.sh install`). Memory and devices are booked, not
enforced.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from running import MICRO, REPOSITORY, snakemake

CLUSTER = Path(__file__).parent / "one-node-slurm.sh"


@pytest.fixture(scope="module")
def cluster():
    """A running cluster with two pretended GPUs."""
    if os.geteuid() != 0 or shutil.which("slurmctld") is None:
        pytest.skip("needs root and SLURM: tests/one-node-slurm.sh install")
    environment = os.environ | {"ONE_NODE_SLURM_GPUS": "2", "ONE_NODE_SLURM_CPUS": "4"}
    started = subprocess.run([CLUSTER, "start"], env=environment, capture_output=True, text=True)
    assert started.returncode == 0, started.stderr
    yield
    subprocess.run([CLUSTER, "stop"], env=environment, check=True, capture_output=True)


@pytest.fixture(scope="module")
def run(cluster, tmp_path_factory):
    """The micro workflow as SLURM jobs; its folder."""
    folder = tmp_path_factory.mktemp("slurm")
    profile = ("--profile", str(REPOSITORY / "slurm"), "--software-deployment-method", "env-modules")
    quick = ("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2")
    overlay = folder / "small.yaml"
    overlay.write_text("cluster: {memory_limit: 2000, time_limit: 60}\n")  # of this one node
    done = snakemake(folder, *profile, *quick, overlays=(MICRO, overlay))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return folder


def booked():
    """The GPUs that the jobs of each rule asked for, as SLURM has it, by rule."""
    lines = subprocess.run(
        ["squeue", "--states=all", "--noheader", "--Format=Comment:200,tres-per-job:40"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    rows = [(re.sub(r"^rule_|_wildcards.*$", "", line[:200].strip()), line[200:240].strip()) for line in lines]
    return pd.DataFrame(rows, columns=["rule", "gpus"]).drop_duplicates().set_index("rule")["gpus"]


def test_the_matches_are_there(run):
    assert len(pd.read_csv(run / "results" / "matching.csv"))


def test_rules_with_networks_asked_for_a_gpu_and_others_not(run):
    asked = booked()
    assert "combine_families" in asked
    with_gpu = {"pretrain_backbone", "train_model", "fit_whitening", "describe", "match_parts", "match_tiles"}
    assert {rule for rule, gpus in asked.items() if "gpu" in gpus} == with_gpu
