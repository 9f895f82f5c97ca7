"""A SLURM of one node, for the smoke test and the fault drills; the run on it is the one of docs/cluster.md.

It needs root, mknod and Debian's SLURM (`tests/one-node-slurm.sh install`); where one is missing the tests skip and
say so, or fail if COPYTRACE_NO_SKIP is set. Memory and devices are booked, not enforced, so that jobs can ask for what
a real cluster has.
"""

import os
import re
import shutil
import stat
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from running import skip_or_fail

SCRIPT = Path(__file__).parent / "one-node-slurm.sh"
NODE = {"ONE_NODE_SLURM_CPUS": "4", "ONE_NODE_SLURM_GPUS": "2", "ONE_NODE_SLURM_MEM_MB": "1000000"}
ACCOUNTING = os.environ.get("ONE_NODE_SLURM_ACCOUNTING") == "1"

# The profile that users take, with the installed environment in place of conda's.
PROFILE = ("--profile", "slurm", "--software-deployment-method", "env-modules")


def lacking(folder: Path) -> str | None:
    """What a SLURM of one node would need and is not here."""
    if os.geteuid() != 0:
        return "root"
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    daemons = ["munged", "slurmctld", "slurmd", "sbatch"] + ["slurmdbd", "mariadbd"] * ACCOUNTING
    for program in daemons:
        if shutil.which(program, path=path) is None:
            return f"{program}: tests/one-node-slurm.sh install"
    if os.path.lexists("/etc/slurm/slurm.conf"):
        return "a machine without one: /etc/slurm/slurm.conf is there (tests/one-node-slurm.sh stop, if it is ours)"
    try:
        os.mknod(folder / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except OSError as refused:
        return f"mknod ({refused.strerror})"
    return None


@contextmanager
def one_node(folder: Path):
    """A running cluster: one node with two pretended GPUs. `folder` is empty."""
    missing = lacking(folder)
    if missing:
        skip_or_fail(f"a SLURM of one node needs {missing}")
    environment = os.environ | NODE
    with (folder / "log").open("w") as log:  # no pipe: the daemons would keep it open
        started = subprocess.run([SCRIPT, "start"], env=environment, stdout=log, stderr=log)
        try:
            assert started.returncode == 0, (folder / "log").read_text()
            yield
        finally:
            subprocess.run([SCRIPT, "stop"], env=environment, check=True, stdout=log, stderr=log)


def slurm(*command: str) -> str:
    """What one of SLURM's commands prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


COLUMNS = {
    "id": "JobID",
    "name": "Name",
    "state": "State",
    "comment": "Comment",
    "account": "Account",
    "gpus": "tres-per-job",
    "cpus": "NumCPUs",
    "memory": "MinMemory",
    "time": "TimeLimit",
}


def booked() -> pd.DataFrame:
    """Every job that the cluster still knows, in the order of submission, and what it asked for.

    `id`, `name` (the run's), `state`, `rule`, `wildcards`, `account`, `gpus` (0 where none was asked for), `cpus`,
    `memory` in MB, `time` in minutes.
    """
    wide = ",".join(f"{column}:200" for column in COLUMNS.values())
    lines = slurm("squeue", "--states=all", "--noheader", "--noconvert", f"--Format={wide}").splitlines()
    rows = [[line[start : start + 200].strip() for start in range(0, 200 * len(COLUMNS), 200)] for line in lines]
    jobs = pd.DataFrame(rows, columns=list(COLUMNS), dtype=str)
    named = jobs.pop("comment").str.extract(r"^rule_(?P<rule>.+?)(?:_wildcards_(?P<wildcards>.+))?$")
    jobs["gpus"] = jobs.gpus.str.extract(r"gpu:(\d+)$")[0].fillna("0").astype(int)
    jobs["cpus"] = jobs.cpus.astype(int)
    jobs["memory"] = jobs.memory.str.removesuffix("M").astype(float).astype(int)
    jobs["time"] = jobs.time.map(minutes)
    order = jobs.id.astype(int).sort_values().index
    return jobs.join(named).loc[order].reset_index(drop=True)


def minutes(text: str) -> int:
    """A time as SLURM writes it, `[days-][hours:]minutes:seconds`, in minutes."""
    days, hours, whole, seconds = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text).groups("0")
    assert seconds == "00"
    return (int(days) * 24 + int(hours)) * 60 + int(whole)


@contextmanager
def drained():
    """The node takes no new jobs."""
    node = slurm("sinfo", "--noheader", "--format=%n").strip()
    slurm("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=drill")
    try:
        yield
    finally:
        slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")
