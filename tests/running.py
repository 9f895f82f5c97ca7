"""Snakemake as a user runs it, for the tests of whole runs."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

REPOSITORY = Path(__file__).parent.parent
MICRO = REPOSITORY / "tests" / "configuration" / "micro.yaml"
DEADLINE = 1800  # seconds, for a run or an event in it; the longest take a few minutes on two cores


@contextmanager
def started(
    folder: Path,
    *arguments: str,
    overlays: Sequence[Path] = (MICRO,),
    code: Path = REPOSITORY,
    variables: Mapping[str, str] = MappingProxyType({}),
    **streams: Any,
) -> Iterator[subprocess.Popen]:
    """Snakemake at work in `folder` with the Snakefile of the folder `code`; `variables` join its environment.

    It has a process group of its own and hears Ctrl-C, as a terminal gives it. If it has not ended when the block
    does, it is killed with all of its group.
    """
    if not (folder / "config.yaml").exists():
        shutil.copy(code / "config.yaml", folder)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(code / "Snakefile"), "--directory", str(folder)]
    command += [*arguments, "--configfile", *map(str, overlays)]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **variables}
    command = ["env", "--default-signal=INT", *command]  # tests in the background of a shell ignore Ctrl-C
    run = subprocess.Popen(command, cwd=folder, env=environment, text=True, start_new_session=True, **streams)
    try:
        yield run
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()


def snakemake(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess:
    """Run Snakemake to its end; options as for `started`."""
    with started(folder, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as run:
        stdout, stderr = run.communicate(timeout=DEADLINE)
    return subprocess.CompletedProcess(run.args, run.returncode, stdout, stderr)


def planned(dry: subprocess.CompletedProcess) -> dict[str, int]:
    """How many jobs of each rule a dry run has."""
    assert dry.returncode == 0, dry.stderr
    if "Nothing to be done" in dry.stdout + dry.stderr:
        return {}
    table = re.search(r"^-+ +-+\n(.*?)^total ", dry.stdout, re.MULTILINE | re.DOTALL)
    assert table, dry.stdout
    return {rule: int(count) for rule, count in (line.split() for line in table[1].splitlines())}


def skip_or_fail(reason: str) -> None:
    """Skip a test that can't run here; fail where none may skip."""
    (pytest.fail if os.environ.get("COPYTRACE_NO_SKIP") else pytest.skip)(reason)
