"""Build a conda channel on disk out of pip's wheels, for machines that reach no conda channel.

    python wheel_channel.py CHANNEL --alias dlib-cpu=dlib ... REQUIREMENT ...

pip takes each REQUIREMENT and what it depends on from its index, as wheels; whl2conda makes each a conda package of the
same name, binary ones too. An alias is an empty package of a name that conda-forge uses, which depends on the wheel's.
The package `python` holds no interpreter of its own: it links to the one that runs this script and carries a
pyvenv.cfg, so that an environment with it is a virtual environment whose packages come from the channel alone.

The channel has one version of everything and is good on the machine that built it, for tests.
"""

import argparse
import asyncio
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import conda_package_handling.api as conda_packages
from packaging.utils import parse_wheel_filename
from rattler.index import index_fs

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
FULL = ".".join(map(str, sys.version_info[:3]))


def build_wheels(folder: Path, requirements: Sequence[str]) -> list[Path]:
    """Wheels of the requirements and of all that they depend on; source packages are built."""
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "-w", folder, *requirements], check=True)
    return sorted(folder.glob("*.whl"))


def convert(wheel: Path, channel: Path) -> None:
    """Write the conda package of a wheel into the channel."""
    subdir = "noarch" if wheel.stem.endswith("-any") else "linux-64"
    command = [Path(sys.executable).with_name("whl2conda"), "convert", wheel, "--ignore-pyproject", "--allow-impure"]
    command += ["--keep-pip-dependencies"]
    # Dependencies keep pip's names: whl2conda would rename them, but not the packages themselves.
    command += ["--dependency-rename", "(.*)", r"\1"]
    # Packed here, because whl2conda packs as tightly as it can, which takes ten times as long.
    with tempfile.TemporaryDirectory() as trees:
        subprocess.run([*command, "--format", "tree", "--quiet", "--out-dir", trees], check=True)
        (tree,) = Path(trees).iterdir()
        conda_packages.create(tree, None, f"{tree.name}.conda", (channel / subdir).resolve(), compression_level=1)


def write_package(
    folder: Path,
    name: str,
    version: str,
    build: str,
    depends: Sequence[str] = (),
    links: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Write a package of symbolic links (path: target) and small files (path: content) into the channel's `folder`."""
    links, files = links or {}, files or {}
    index = {"name": name, "version": version, "build": build, "build_number": 0, "subdir": folder.name}
    index |= {"depends": list(depends), "constrains": [], "timestamp": 0}
    paths = [{"_path": path, "path_type": "softlink", "sha256": "0" * 64, "size_in_bytes": 0} for path in links]
    paths += [{"_path": path, "path_type": "hardlink", "size_in_bytes": len(data)} for path, data in files.items()]
    about = {
        "info/index.json": json.dumps(index).encode(),
        "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}).encode(),
        "info/files": "".join(f"{path}\n" for path in (*links, *files)).encode(),
    }
    with tarfile.open(folder / f"{name}-{version}-{build}.tar.bz2", "w:bz2") as archive:
        for path, data in (about | dict(files)).items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for path, target in links.items():
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)


def write_python(folder: Path) -> None:
    """Write `python`, which links to this script's interpreter, and `python_abi`, which binary packages ask for."""
    program = Path(sys.base_prefix) / "bin" / f"python{MINOR}"
    links = {f"bin/python{MINOR}": str(program), "bin/python3": f"python{MINOR}", "bin/python": f"python{MINOR}"}
    settings = f"home = {program.parent}\ninclude-system-site-packages = false\nversion = {FULL}\n"
    write_package(folder, "python", FULL, "linked_0", links=links, files={"pyvenv.cfg": settings.encode()})
    write_package(folder, "python_abi", MINOR, f"0_cp{MINOR.replace('.', '')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("channel", type=Path)
    parser.add_argument("requirements", nargs="+")
    parser.add_argument("--alias", action="append", default=[], metavar="NAME=PACKAGE")
    arguments = parser.parse_args()
    noarch, linux = arguments.channel / "noarch", arguments.channel / "linux-64"
    for folder in (noarch, linux):
        folder.mkdir(parents=True)
    wheels = build_wheels(arguments.channel / "wheels", arguments.requirements)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:  # packing changes the working directory
        list(pool.map(convert, wheels, repeat(arguments.channel)))
    versions = {name: str(version) for name, version, *_ in (parse_wheel_filename(wheel.name) for wheel in wheels)}
    for name, package in (alias.split("=") for alias in arguments.alias):
        write_package(noarch, name, versions[package], "alias_0", depends=[f"{package} =={versions[package]}"])
    write_python(linux)
    asyncio.run(index_fs(arguments.channel.resolve(), write_zst=False, write_shards=False))


if __name__ == "__main__":
    main()
    os._exit(0)  # py-rattler 0.28 now and then aborts while Python winds down, with all work done
