"""The whole workflow at micro size through all environments, made by Snakemake's conda deployment: `make test-envs`.

Needs 12 GB of disk and a package index. Conda and its channel are the stand-ins of tests/conda_stand_in. FAISS for
GPUs is installed and searches on the CPU.
"""

from pathlib import Path

import pytest
from environments import ENVIRONMENTS, RULES, assert_holds, conda_variables, made_environments, used_environments
from running import snakemake


@pytest.fixture(scope="module")
def conda(tmp_path_factory):
    return conda_variables(tmp_path_factory.mktemp("conda"), ENVIRONMENTS)


def whole_run(folder: Path, *options: str, **keywords) -> Path:
    run = snakemake(folder, "--cores", "2", *options, **keywords)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    return folder


@pytest.fixture(scope="module")
def through_conda(conda, tmp_path_factory):
    folder = tmp_path_factory.mktemp("through_conda")
    whole_run(folder, "--sdm", "conda", "--conda-create-envs-only", variables=conda)
    return whole_run(folder, "--sdm", "conda", variables=conda)


@pytest.fixture(scope="module")
def without_conda(tmp_path_factory):
    return whole_run(tmp_path_factory.mktemp("without_conda"))


def test_every_rule_ran_in_its_environment(through_conda):
    assert used_environments(through_conda) == {rule: environment for rule, (_, environment, _) in RULES.items()}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_holds_its_packages(through_conda, environment):
    assert_holds(made_environments(through_conda)[environment], environment)


def test_results_are_those_of_a_run_without_conda(through_conda, without_conda):
    for result in ("matching.csv", "evaluation/matching.json", "evaluation/training_gain.json"):
        assert (through_conda / "results" / result).read_bytes() == (without_conda / "results" / result).read_bytes()


def test_after_a_run_with_conda_there_is_nothing_to_be_done_without(through_conda):
    assert "Nothing to be done" in str(snakemake(through_conda, "-n"))


def test_after_a_run_without_conda_there_is_nothing_to_be_done_with(conda, without_conda):
    assert "Nothing to be done" in str(snakemake(without_conda, "-n", "--sdm", "conda", variables=conda))
