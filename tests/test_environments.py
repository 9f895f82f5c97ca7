"""Each rule's environment holds what its script imports and no more, at the versions that are tested together."""

import ast
import re
import sys
from functools import cache

import pytest
from environments import ENVIRONMENTS, PIP_NAMES, REPOSITORY, RULES, conda_pins, definition, pinned_versions, pip_pins

from copytrace import provenance

SCRIPTS = REPOSITORY / "workflow_scripts"
COMPAT = SCRIPTS / "copytrace" / "compat.py"

# The packages that give an import; where the name is the package's it is not listed.
PACKAGES = {
    "cv2": {"opencv-contrib-python-headless"},
    "faiss": {"faiss-cpu", "faiss-gpu"},
    "matplotlib": {"matplotlib-base"},
    "PIL": {"pillow"},
    "skimage": {"scikit-image"},
    "sklearn": {"scikit-learn"},
    "yaml": {"pyyaml"},
}

# Listed though no script of the environment imports them.
NOT_IMPORTED = {
    "python",
    "pip",  # installs the part of the list that conda-forge does not have
    "dlib-cpu",  # dlib of face_recognition, held at the tested version
    "h5py",  # of scripts whose start the bill measures
    "setuptools",  # its pkg_resources is imported by face_recognition_models
}


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


def missing(script: str, environment: str) -> list[str]:
    """What a script imports and an environment lacks."""
    listed = {*conda_pins(environment), *pip_pins(environment)}
    return sorted(name for name in needs(script) if not PACKAGES.get(name, {name}) & listed)


@pytest.mark.parametrize("rule", RULES)
def test_an_environment_holds_what_its_rules_import(rule):
    script, environment, _ = RULES[rule]
    assert not missing(script, environment), f"envs/{environment}.yaml lacks something of {script}"


@pytest.mark.parametrize("script", sorted({rule.script for rule in RULES.values()}))
def test_the_bill_can_start_every_script(script):
    """It does so to see how long starting takes."""
    assert not missing(script, "bill"), f"envs/bill.yaml lacks something of {script}"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_holds_nothing_else(environment):
    names = set().union(*(needs(script) for script, used, _ in RULES.values() if environment in (used, "bill")))
    wanted = set().union(*(PACKAGES.get(name, {name}) for name in names))
    unused = {*conda_pins(environment), *pip_pins(environment)} - wanted - NOT_IMPORTED
    assert not unused, f"envs/{environment}.yaml lists {sorted(unused)}, which its rules do not import"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_environments_hold_the_pinned_versions(environment):
    tested = pinned_versions()
    assert pip_pins(environment) == {name: tested[name] for name in pip_pins(environment)}
    for name, version in conda_pins(environment).items():
        if name not in ("python", "pip"):
            package = PIP_NAMES.get(name, name)
            assert version and f"{tested[package]}.".startswith(f"{version}."), f"{name}: tested with {tested[package]}"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_packages_come_from_conda_forge_and_from_pip_alone(environment):
    content = definition(environment)
    assert set(content) == {"channels", "dependencies"}
    assert content["channels"] == ["conda-forge", "nodefaults"]
    assert conda_pins(environment)["python"] == "3.11"
    assert ("pip" in conda_pins(environment)) == bool(pip_pins(environment))


def test_every_environment_is_some_rules():
    assert {rule.environment for rule in RULES.values()} == set(ENVIRONMENTS)


def test_the_page_says_which_rules_use_which_environment():
    page = (REPOSITORY / "docs" / "environments.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", page, flags=re.MULTILINE)
    documented = {name: set(re.findall(r"`(\w+)`", cell)) for name, cell in rows}
    assert documented == {
        name: {rule for rule, (_, environment, _) in RULES.items() if environment == name} for name in ENVIRONMENTS
    }


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_reruns_for_its_own_script_and_environment(rule):
    script, environment, digest = RULES[rule]
    assert digest == f'"{script}", "{environment}"'
