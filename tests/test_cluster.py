"""The SLURM profile and what jobs ask for; the real run is `make test-slurm`."""

import re
from pathlib import Path

import pytest
import yaml
import yte
from running import REPOSITORY, snakemake

from copytrace.resources import grown

PROFILE = REPOSITORY / "slurm" / "config.yaml"


@pytest.mark.parametrize(
    ("attempt", "asked"),
    [(1, 16_000), (2, 32_000), (3, 64_000), (4, 100_000), (9, 100_000)],
)
def test_every_attempt_asks_for_twice_as_much_up_to_the_limit(attempt, asked):
    assert grown(16_000, attempt, limit=100_000) == asked


def test_a_job_larger_than_every_node_asks_for_what_there_is():
    assert grown(16_000, 1, limit=8_000) == 8_000


def profile(**site):
    """The profile as Snakemake reads it, with values of a site."""
    text = PROFILE.read_text()
    for name, value in site.items():
        text, found = re.subn(rf"^  {name}: null", f"  {name}: {value}", text, flags=re.MULTILINE)
        assert found == 1
    return yte.process_yaml(text, require_use_yte=True)


def test_an_untouched_profile_leaves_the_site_to_the_cluster():
    read = profile()
    assert read["executor"] == "slurm"
    assert read["default-resources"] == {}
    assert read["slurm-status-command"] == "squeue"
    assert "set-resources" not in read


def test_the_values_of_a_site_reach_the_rules_that_use_a_gpu():
    rules = "".join(path.read_text() for path in sorted((REPOSITORY / "rules").glob("*.smk")))
    blocks = re.split(r"^rule ", rules, flags=re.MULTILINE)[1:]
    with_gpu = {block.split(":", 1)[0] for block in blocks if re.search(r"^ +gpu=", block, re.MULTILINE)}
    everywhere = {"partition": "cpu", "account": "me", "qos": "long"}
    read = profile(**everywhere, gpu_partition="gpu", gpu_model="a100", gpu_constraint="big|fast")
    assert read["default-resources"] == {"slurm_partition": "'cpu'", "slurm_account": "'me'", "qos": "'long'"}
    assert set(read["set-resources"]) == with_gpu
    of_gpus = {"slurm_partition": "'gpu'", "gpu_model": "'a100'", "constraint": "'big|fast'"}
    assert all(row == of_gpus for row in read["set-resources"].values())


def test_a_site_may_call_its_partitions_as_python_calls_its_functions(tmp_path):
    """`all` is a usual name; unquoted, Snakemake takes it for the function and stops."""
    site = profile(partition="all", gpu_partition="max", gpu_constraint="big|fast", account="2026")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "config.yaml").write_text(yaml.safe_dump(site))
    (tmp_path / "run").mkdir()
    site_profile = ("--profile", str(tmp_path / "site"))
    run = snakemake(tmp_path / "run", "-n", *site_profile, "--software-deployment-method", "env-modules")
    assert run.returncode == 0, run.stderr


def test_the_profile_that_is_always_loaded_wins_over_nothing_of_slurm():
    always = yaml.safe_load((REPOSITORY / "profiles" / "default" / "config.yaml").read_text())
    assert not set(always) & set(profile())
    assert not {"cores", "jobs", "executor", "default-resources", "report-after-run"} & set(always)


def test_the_literal_command_finds_the_profile():
    assert Path(REPOSITORY / "slurm").resolve() == REPOSITORY / "profiles" / "slurm"
