"""The bill of the sample beside what the sample really takes: rates, bill and run, one after the other.

Compared is processor time, which other work on the machine changes less than the clock. Every job's is counted in
full, with that of the processes it started: the run finds a `python` that writes it down. (Snakemake's own column
`cpu_time` stands still half a minute at a time.) Exit status 1 where the sum is off by more than a factor of 1.5.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

REPOSITORY = Path(__file__).resolve().parent.parent
WITHIN = 1.5

# Runs the real Python, then notes the script and what `times` says: of the shell, and of the processes that it ran.
NOTING_PYTHON = """\
#!/bin/sh
{python} "$@"
status=$?
{{ basename "$1"; times; }} > "$(mktemp -p {notes})"
exit $status
"""


def main() -> None:
    """Read the arguments, make the bill, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for the results; an empty or a new one")
    parser.add_argument("--cores", default="all")
    parser.add_argument("--configfile", type=Path, nargs="*", default=[], help="overlays on config.yaml")
    args = parser.parse_args()
    output = args.output.resolve()
    notes, python = output / "notes", output / "bin" / "python"
    for folder in (notes, python.parent):
        folder.mkdir(parents=True)
    python.write_text(NOTING_PYTHON.format(python=shlex.quote(sys.executable), notes=shlex.quote(str(notes))))
    python.chmod(0o755)
    (output / "config.yaml").write_text((REPOSITORY / "config.yaml").read_text())

    def snakemake(target: str) -> float:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), target]
        command += ["--directory", str(output), "--cores", args.cores, "--quiet", "all", "--config", "results=results"]
        command += ["--configfile", *(str(path.resolve()) for path in args.configfile)] if args.configfile else []
        started = time.monotonic()
        environment = os.environ | {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run(command, check=True, cwd=output, env=environment)
        return time.monotonic() - started

    print(f"bill: {snakemake('bill'):.0f} s")
    for note in notes.iterdir():
        note.unlink()
    print(f"run: {snakemake('all'):.0f} s on {os.cpu_count()} cores\n")
    billed = (
        pd.read_csv(output / "results" / "bill" / "bill.csv").groupby("stage", sort=False)["cpu_hours"].sum() * 3600
    )
    table = pd.DataFrame({"billed": billed, "taken": taken(notes)})
    table.loc["all"] = table.sum()
    table["billed / taken"] = table["billed"] / table["taken"]
    print(table.to_string(float_format="%.2f"))
    sys.exit(not 1 / WITHIN < table["billed / taken"].iloc[-1] < WITHIN)


def taken(notes: Path) -> pd.Series:
    """Processor seconds of each stage: the rule file that its scripts stand in."""
    stages = {
        script: file.stem
        for file in (REPOSITORY / "rules").glob("*.smk")
        for script in re.findall(r"\$SCRIPTS/(\w+\.py)", file.read_text())
    }
    spent: dict[str, float] = {}
    for note in notes.iterdir():
        script, _, processes = note.read_text().splitlines()
        spent[stages[script]] = spent.get(stages[script], 0) + sum(map(seconds, processes.split()))
    return pd.Series(spent)


def seconds(clock: str) -> float:
    """What `times` prints.

    >>> seconds("1m2.500000s")
    62.5
    """
    minutes, rest = clock.removesuffix("s").split("m")
    return 60 * float(minutes) + float(rest)


if __name__ == "__main__":
    main()
