"""The commands of `conda` that Snakemake calls, on py-rattler, for machines that have no conda and reach no channel.

Environment files are solved and installed for real, by rattler, with a channel on disk (wheel_channel.py) in place of
every channel that they name. What pip is to install is installed by the environment's own pip. It is not a conda.

    python rattler_conda.py ROOT CHANNEL COMMAND ...

`install_stand_in` writes the ROOT that Snakemake takes for a conda installation.
"""

import argparse
import asyncio
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "26.1.0"  # what it says of itself; Snakemake asks for 24.7.1 or later

CONDA = """\
#!/bin/sh
RATTLER_CACHE_DIR={root}/packages exec {python} {script} {root} {channel} "$@"
"""

# Snakemake's jobs are `bash -c "source ROOT/bin/activate ENVIRONMENT; ... python "$SCRIPTS/x.py" ..."`.
# Each is noted in ROOT/activations as `ENVIRONMENT x`.
ACTIVATE = """\
if [ -d "$1/conda-meta" ]; then
    export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"
    script=${BASH_EXECUTION_STRING#*SCRIPTS/}
    echo "$1 ${script%%.py*}" >> "${BASH_SOURCE[0]%/bin/activate}/activations"
else
    echo "EnvironmentLocationNotFound: $1" >&2
    false
fi
"""

# Stands before every other python on the PATH, so that a job that was not given an environment fails.
NO_PYTHON = """\
#!/bin/sh
echo "error: this job runs in no conda environment" >&2
exit 1
"""


def install_stand_in(root: Path, channel: Path) -> None:
    """Write `conda`, `activate` and a `python` that fails into root/bin."""
    binaries = root / "bin"
    binaries.mkdir(parents=True)
    parts = {"root": root, "channel": channel, "python": sys.executable, "script": Path(__file__).resolve()}
    (binaries / "activate").write_text(ACTIVATE)
    (binaries / "conda").write_text(CONDA.format(**{name: shlex.quote(str(part)) for name, part in parts.items()}))
    (binaries / "python").write_text(NO_PYTHON)
    for name in ("conda", "python"):
        (binaries / name).chmod(0o755)


async def install(specifications: list[str], prefix: Path, channel: Path) -> None:
    """Solve the specifications (`numpy =2.4`) with the channel's packages and install the solution."""
    from rattler import VirtualPackage, install, solve

    records = await solve(
        sources=[channel.as_uri()],
        specs=specifications,
        platforms=["linux-64", "noarch"],
        virtual_packages=VirtualPackage.detect(),
    )
    await install(records, target_prefix=prefix, show_progress=False)


def create_environment(file: Path, prefix: Path, channel: Path) -> None:
    """Make the environment of a file at `prefix`."""
    import yaml

    dependencies = yaml.safe_load(file.read_text())["dependencies"]
    asyncio.run(install([line for line in dependencies if isinstance(line, str)], prefix, channel))
    for group in dependencies:
        if isinstance(group, dict):
            with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
                requirements.write("\n".join(group["pip"]))
                requirements.flush()
                pip = [prefix / "bin" / "python", "-m", "pip", "install", "--quiet", "-r", requirements.name]
                subprocess.run(pip, check=True)


def main() -> None:
    root, channel, *command = sys.argv[1:]
    match command:
        case ["--version"]:
            print(f"conda {VERSION}")
        case ["info", "--json"]:
            print(json.dumps({"conda_prefix": root, "platform": "linux-64"}))
        case ["config", "--get", "channel_priority", "--json"]:
            print(json.dumps({"get": {"channel_priority": "strict"}}))
        case ["env", "create", *flags]:
            parser = argparse.ArgumentParser(prog="conda env create")
            parser.add_argument("--file", type=Path, required=True)
            parser.add_argument("--prefix", type=Path, required=True)
            for flag in ("--quiet", "--no-default-packages"):
                parser.add_argument(flag, action="store_true")
            arguments = parser.parse_args(flags)
            create_environment(arguments.file, arguments.prefix, Path(channel))
        case ["clean", *_]:
            pass  # the packages stay in ROOT
        case _:
            sys.exit(f"this stand-in knows no `conda {shlex.join(command)}`")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # py-rattler 0.28 now and then aborts while Python winds down, with all work done
