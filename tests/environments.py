"""The rules' conda environments as envs/ and rules/ have them, and a conda to make them with, for the tests."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from conda_stand_in.rattler_conda import install_stand_in
from running import skip_or_fail

REPOSITORY = Path(__file__).parent.parent
ENVIRONMENTS = sorted(path.stem for path in (REPOSITORY / "envs").glob("*.yaml"))
WHEEL_CHANNEL = REPOSITORY / "tests" / "conda_stand_in" / "wheel_channel.py"

# conda-forge's name: pip's name, where they differ.
PIP_NAMES = {"dlib-cpu": "dlib", "face_recognition": "face-recognition", "matplotlib-base": "matplotlib"}


class Rule(NamedTuple):
    """What a rule file says of a rule that runs a script."""

    script: str  # file name in workflow_scripts/
    environment: str  # file name in envs/, without the ending
    digest: str  # the arguments of `code_of`


def rules() -> dict[str, Rule]:
    """The rules that run a script, by name."""
    found = {}
    for file in sorted((REPOSITORY / "rules").glob("*.smk")):
        for text in re.split(r"^rule ", file.read_text(), flags=re.MULTILINE)[1:]:
            (script,) = re.findall(r"\$SCRIPTS/(\w+\.py)", text)
            (environment,) = re.findall(r'conda:\s+"\.\./envs/(\w+)\.yaml"', text)
            (digest,) = re.findall(r"code=code_of\((.*?)\)", text)
            found[text.split(":")[0]] = Rule(script, environment, digest)
    return found


RULES = rules()


def definition(environment: str) -> dict:
    """The content of an environment file."""
    return yaml.safe_load((REPOSITORY / "envs" / f"{environment}.yaml").read_text())


def conda_pins(environment: str) -> dict[str, str]:
    """The part of an environment that comes from conda-forge: name, and the first parts of its version or ''."""
    lines = [line for line in definition(environment)["dependencies"] if isinstance(line, str)]
    return dict(re.fullmatch(r"([\w-]+)(?: =([\d.]+))?", line).groups(default="") for line in lines)


def pip_pins(environment: str) -> dict[str, str]:
    """The part of an environment that pip installs: name and version."""
    groups = [group for group in definition(environment)["dependencies"] if isinstance(group, dict)]
    return dict(line.split("==") for group in groups for line in group["pip"])


def pinned_versions() -> dict[str, str]:
    """The versions of the requirements files by pip's name in lower case, and dlib's."""
    files = ["requirements.txt", "requirements-gpu.txt", "requirements/common.txt"]
    text = "\n".join((REPOSITORY / name).read_text() for name in files)
    shim = tomllib.loads((REPOSITORY / "requirements/dlib-shim/pyproject.toml").read_text())["project"]
    pins = re.findall(r"^([\w-]+)==(\S+)", text, flags=re.MULTILINE)
    return {name.lower(): version for name, version in pins} | {shim["name"]: shim["version"]}


def normalised(package: str) -> str:
    """A package's name as pip compares them."""
    return re.sub(r"[-_.]+", "-", package).lower()


class Conda(NamedTuple):
    """A conda for Snakemake: the stand-in, with a channel of the pinned versions."""

    root: Path

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables with which Snakemake finds it; `python` outside of an environment then fails."""
        return {"PATH": f"{self.root / 'bin'}:{os.environ['PATH']}"}

    def activations(self) -> set[tuple[str, str]]:
        """Environment and script of all jobs that were given an environment."""
        lines = [line.rsplit(" ", 1) for line in (self.root / "activations").read_text().splitlines()]
        return {(environment_of(Path(f"{folder}.yaml")), f"{script}.py") for folder, script in lines}


def conda_for(environments: Sequence[str], folder: Path) -> Conda:
    """A conda that can make these environments, put into `folder`; a test is skipped where there can be none."""
    python = conda_pins(environments[0])["python"]
    if python != f"{sys.version_info.major}.{sys.version_info.minor}":
        skip_or_fail(f"the environments ask for Python {python}; the channel's is the one that runs this test")
    probe = ["-m", "pip", "download", "--quiet", "--retries", "0", "--no-deps", "--no-cache-dir", "pip"]
    if subprocess.run([sys.executable, *probe], cwd=folder, capture_output=True).returncode:
        skip_or_fail("pip reaches no package index to make a conda channel from")
    pinned = pinned_versions()
    wanted = set().union(*map(conda_pins, environments)) - {"python", "pip"}
    names = {PIP_NAMES.get(name, name) for name in wanted}
    requirements = ["pip", *(f"{name}=={pinned[name]}" for name in sorted(names - {"dlib"}))]
    if "dlib" in names:
        requirements.append(str(REPOSITORY / "requirements" / "dlib-shim"))
    aliases = [f"--alias={name}={package}" for name, package in PIP_NAMES.items() if name in wanted]
    build = [sys.executable, WHEEL_CHANNEL, folder / "channel", *aliases, *requirements]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    install_stand_in(folder / "root", folder / "channel")
    return Conda(folder / "root")


def environment_of(file: Path) -> str:
    """The environment of Snakemake's copy of its file."""
    content = file.read_text()
    (name,) = [name for name in ENVIRONMENTS if (REPOSITORY / "envs" / f"{name}.yaml").read_text() == content]
    return name


def made_environments(folder: Path) -> dict[str, Path]:
    """Environment: folder of those that Snakemake had conda make in `folder`."""
    files = (folder / ".snakemake" / "conda").glob("*_.yaml")
    return {environment_of(file): file.with_suffix("") for file in files}


ASK = """
import importlib.metadata as metadata, json, sys
packages = {d.name: [d.version, str(d.locate_file(""))] for d in metadata.distributions()}
print(json.dumps([sys.prefix, packages]))
"""


def assert_holds(prefix: Path, environment: str) -> None:
    """The Python of the environment at `prefix` finds the listed packages at the tested versions, all in there."""
    answer = subprocess.run([prefix / "bin" / "python", "-c", ASK], capture_output=True, text=True, check=True)
    own_prefix, packages = json.loads(answer.stdout)
    assert Path(own_prefix).samefile(prefix)
    assert all(Path(place).is_relative_to(own_prefix) for _, place in packages.values())
    versions = {normalised(name): version.split("+")[0] for name, (version, _) in packages.items()}  # 2.13.0+cpu
    names = {*conda_pins(environment), *pip_pins(environment)} - {"python", "pip"}
    wanted = {PIP_NAMES.get(name, name) for name in names}
    tested = pinned_versions()
    assert {name: versions.get(normalised(name)) for name in wanted} == {name: tested[name] for name in wanted}
