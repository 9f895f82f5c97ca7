"""Jobs on a cluster compute only what their run began with; tests/cluster_faults.py does it on a real SLURM."""

import pytest
from running import MICRO, planned, snakemake

from copytrace import run_record
from copytrace.errors import InputError

BEGAN = {"seed": 0, "chain": {"steps": {"blur": {"radius": (5, 20)}}}, "empty": {}}
CODE = {"describe": "ab", "evaluate": "cd"}


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "logs" / "run.json"
    run_record.write(path, BEGAN, CODE)
    assert [entry.name for entry in path.parent.iterdir()] == ["run.json"]
    return path


def test_what_stayed_the_same_passes(record):
    run_record.check(record, dict(reversed(BEGAN.items())), {"describe": "ab"})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (BEGAN | {"seed": 1}, "seed: 0, now 1"),
        (BEGAN | {"chain": {"steps": {"blur": {"radius": [5, 21]}}}}, "chain.steps.blur.radius: [5, 20], now [5, 21]"),
        (BEGAN | {"more": True}, "more: not set, now true"),
        ({key: value for key, value in BEGAN.items() if key != "empty"}, "empty: {}, now not set"),
    ],
)
def test_another_configuration_is_named(record, changed, told):
    with pytest.raises(InputError) as stopped:
        run_record.check(record, changed, CODE)
    assert str(stopped.value) == (
        f"the configuration was changed since this run began ({told}): stop the run and start it again"
    )


def test_other_code_of_the_rule_is_named(record):
    with pytest.raises(InputError, match="the code or environment of rule evaluate was changed since this run began"):
        run_record.check(record, BEGAN, {"evaluate": "ce"})


def test_a_record_that_is_gone_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json, which says what this run began with, can't be read"):
        run_record.check(tmp_path / "gone.json", BEGAN, CODE)


def test_a_job_of_a_cluster_checks_before_it_computes(tmp_path):
    """The command line is the one that a job gets from Snakemake."""
    drawn = "results/images/drawn/training"
    begun = snakemake(tmp_path, "--cores", "1", drawn)
    assert begun.returncode == 0, begun.stderr
    (record,) = (tmp_path / "results" / "logs" / "runs").glob("*.json")

    def job(changed="{}"):
        overlay = tmp_path / "changed.yaml"
        overlay.write_text(changed)
        remote = ("--mode", "remote", "--nolock", "--cores", "1", "--allowed-rules", "draw_sample")
        variables = {"COPYTRACE_RUN": str(record)}
        return snakemake(
            tmp_path, drawn, "--forcerun", "draw_sample", *remote, overlays=(MICRO, overlay), variables=variables
        )

    assert job().returncode == 0
    assert job("execution: {workers: 1}").returncode == 0
    stopped = job("seed: 7")
    assert stopped.returncode != 0
    assert "the configuration was changed since this run began (seed: 0, now 7)" in stopped.stderr
    record.write_text(record.read_text().replace('"draw_sample": "', '"draw_sample": "0'))
    stopped = job()
    assert stopped.returncode != 0
    assert "the code or environment of rule draw_sample was changed since this run began" in stopped.stderr
    record.write_text(record.read_text().replace('"draw_sample": "0', '"draw_sample": "').replace('"scan', '"0scan'))
    assert job().returncode == 0  # another rule's code does not matter to it
    assert planned(snakemake(tmp_path, "-n", drawn, variables={"COPYTRACE_RUN": "nowhere"})) == {}
