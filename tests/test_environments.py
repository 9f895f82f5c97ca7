"""Each rule's environment holds what its script imports and no more, at the versions that are tested together."""

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml

from copytrace import provenance

REPOSITORY = Path(__file__).parent.parent
SCRIPTS = REPOSITORY / "workflow_scripts"
ENVIRONMENTS = sorted(path.stem for path in (REPOSITORY / "envs").iterdir())
COMPAT = SCRIPTS / "copytrace" / "compat.py"

# The packages that give an import; where the name is the package's it is not listed.
PACKAGES = {
    "cv2": {"opencv-contrib-python-headless"},
    "faiss": {"faiss-cpu", "faiss-gpu"},
    "matplotlib": {"matplotlib-base"},
    "PIL": {"pillow"},
    "skimage": {"scikit-image"},
    "yaml": {"pyyaml"},
}

# Listed though no script of the environment imports them.
NOT_IMPORTED = {
    "python",
    "pip",  # installs the part of the list that conda-forge does not have
    "dlib",  # of face_recognition, held at the tested version
    "h5py",  # of scripts whose start the bill measures
    "setuptools",  # its pkg_resources is imported by face_recognition_models
}


def rules() -> dict[str, tuple[str, str, str]]:
    """Script, environment, and the arguments of `code_of`, of each rule that runs a script."""
    found = {}
    for file in sorted((REPOSITORY / "rules").glob("*.smk")):
        for text in re.split(r"^rule ", file.read_text(), flags=re.MULTILINE)[1:]:
            (script,) = re.findall(r"\$SCRIPTS/(\w+\.py)", text)
            (environment,) = re.findall(r'conda:\s+"\.\./envs/(\w+)\.yaml"', text)
            (digest,) = re.findall(r"code=code_of\((.*?)\)", text)
            found[text.split(":")[0]] = script, environment, digest
    return found


RULES = rules()


def pins(environment: str) -> dict[str, str]:
    """Packages of an environment, with =VERSION of conda (the first parts of it) or ==VERSION of pip."""
    listed = yaml.safe_load((REPOSITORY / "envs" / f"{environment}.yaml").read_text())["dependencies"]
    lines = [line for line in listed if isinstance(line, str)]
    lines += [line for group in listed if isinstance(group, dict) for line in group["pip"]]
    return dict(re.fullmatch(r"([\w-]+) ?(.*)", line).groups() for line in lines)


def imported(tree: ast.AST) -> set[str]:
    """Top-level names of the packages that code imports, looks for by name, or has pandas import."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
        elif isinstance(node, ast.Attribute) and node.attr in ("read_parquet", "to_parquet"):
            names.add("pyarrow")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "find_spec")):
            names.add(ast.literal_eval(node.args[0]))
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"copytrace"}


@cache
def needs(script: str) -> set[str]:
    """The packages that a script and its library modules import; of `compat` what the functions in use import."""
    files = {SCRIPTS / script, *provenance._imported_by(SCRIPTS / script)}
    names = set().union(*(imported(ast.parse(file.read_text())) for file in files - {COMPAT}))
    if COMPAT in files:
        text = "".join(file.read_text() for file in files - {COMPAT})
        functions = [node for node in ast.parse(COMPAT.read_text()).body if isinstance(node, ast.FunctionDef)]
        names.update(*(imported(function) for function in functions if function.name in text))
    return names


@pytest.mark.parametrize("rule", RULES)
def test_an_environment_holds_what_its_rules_import(rule):
    script, environment, _ = RULES[rule]
    listed = set(pins(environment))
    missing = {name for name in needs(script) if not PACKAGES.get(name, {name}) & listed}
    assert not missing, f"envs/{environment}.yaml lacks {sorted(missing)} of {script}"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_holds_nothing_else(environment):
    names = set().union(*(needs(script) for script, used, _ in RULES.values() if used == environment))
    wanted = set().union(*(PACKAGES.get(name, {name}) for name in names))
    unused = set(pins(environment)) - wanted - NOT_IMPORTED
    assert not unused, f"envs/{environment}.yaml lists {sorted(unused)}, which its rules do not import"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_environments_hold_the_tested_versions(environment):
    files = ["requirements.txt", "requirements-gpu.txt", "requirements/common.txt"]
    text = "\n".join((REPOSITORY / name).read_text() for name in files)
    tested = dict(re.findall(r"^([\w-]+)==(\S+)", text, flags=re.MULTILINE))
    tested["dlib"] = tomllib.loads((REPOSITORY / "requirements/dlib-shim/pyproject.toml").read_text())["project"][
        "version"
    ]
    tested["pyyaml"] = tested["PyYAML"]
    tested["matplotlib-base"] = tested["matplotlib"]  # conda-forge's package without a graphical interface
    for package, pin in pins(environment).items():
        if package in ("python", "pip"):
            continue
        version = tested[package.replace("_", "-")]
        if pin.startswith("=="):
            assert pin == f"=={version}", package
        else:
            assert f"{version}.".startswith(pin.removeprefix("=") + "."), f"{package} {pin}, tested with {version}"


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_reruns_for_its_own_script_and_environment(rule):
    script, environment, digest = RULES[rule]
    assert digest == f'"{script}", "{environment}"'
