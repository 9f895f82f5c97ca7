"""The whole workflow at micro size through all environments, made by Snakemake's conda deployment: `make test-envs`.

Needs a package index and 5 GB of disk, more with a CUDA build of torch. Conda and its channel are the stand-ins of
tests/conda_stand_in. FAISS for GPUs is installed and searches on the CPU.
"""

from pathlib import Path
from subprocess import CompletedProcess

import pytest
from environments import ENVIRONMENTS, RULES, assert_holds, conda_for, made_environments
from running import MICRO, snakemake

from copytrace.provenance import file_digest


@pytest.fixture(scope="module")
def conda(tmp_path_factory):
    return conda_for(ENVIRONMENTS, tmp_path_factory.mktemp("conda"))


#: Everything that there are rules for; queries of the descriptor track are replaced by any box.
TARGETS = ("all", "bill", "descriptor_track")
OVERLAY = "descriptor_track: {replacement: {confidence: 0.0}}"


def everything(folder: Path, *options: str, **keywords) -> CompletedProcess:
    overlay = folder / "overlay.yaml"
    overlay.write_text(OVERLAY)
    return snakemake(folder, *TARGETS, *options, overlays=(MICRO, overlay), **keywords)


def whole_run(folder: Path, *options: str, **keywords) -> Path:
    run = everything(folder, "--cores", "2", *options, **keywords)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    return folder


@pytest.fixture(scope="module")
def through_conda(conda, tmp_path_factory):
    folder = tmp_path_factory.mktemp("through_conda")
    whole_run(folder, "--sdm", "conda", "--conda-create-envs-only", variables=conda.variables)
    return whole_run(folder, "--sdm", "conda", variables=conda.variables)


@pytest.fixture(scope="module")
def without_conda(tmp_path_factory):
    return whole_run(tmp_path_factory.mktemp("without_conda"))


def test_every_rule_ran_in_its_environment(conda, through_conda):
    assert conda.activations() == {(rule.environment, rule.script) for rule in RULES.values()}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_holds_its_packages(through_conda, environment):
    assert_holds(made_environments(through_conda)[environment], environment)


def digests(folder: Path) -> dict[str, str]:
    """Results of a run: path and SHA-256. Not what is measured, nor figures: Matplotlib's own needs have no pins."""
    results, left_out = folder / "results", (".log", ".tsv", ".png", ".html")
    kept = [path for path in results.rglob("*") if path.is_file() and path.suffix not in left_out]
    kept = [path for path in kept if path.parent.name != "bill"]
    return {str(path.relative_to(results)): file_digest(path) for path in kept}


def test_results_are_those_of_a_run_without_conda(through_conda, without_conda):
    results = digests(through_conda)
    assert {"matching.csv", "matches.csv", "descriptors.h5"} <= set(results)
    assert results == digests(without_conda)


def test_after_a_run_with_conda_there_is_nothing_to_be_done_without(through_conda):
    assert "Nothing to be done" in str(everything(through_conda, "-n"))


def test_after_a_run_without_conda_there_is_nothing_to_be_done_with(conda, without_conda):
    assert "Nothing to be done" in str(everything(without_conda, "-n", "--sdm", "conda", variables=conda.variables))
