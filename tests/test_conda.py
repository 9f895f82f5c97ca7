"""An environment that Snakemake's conda deployment makes, and jobs through it; all environments: `make test-envs`."""

from environments import RULES, assert_holds, conda_variables, made_environments, used_environments
from running import snakemake

TARGET = "results/images/references.parquet"  # of four rules that share an environment


def test_jobs_run_in_an_environment_that_conda_made(tmp_path):
    conda = conda_variables(tmp_path, ["pictures"])
    without, through = tmp_path / "without", tmp_path / "through"
    without.mkdir()
    through.mkdir()
    for run in (
        snakemake(without, TARGET, "--cores", "2"),
        snakemake(through, TARGET, "--cores", "2", "--sdm", "conda", variables=conda),
    ):
        assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]

    rules = ("draw_sample", "list_images", "scan_images", "merge_manifests")
    assert used_environments(through) == {rule: RULES[rule].environment for rule in rules}
    assert used_environments(without) == {}
    made = made_environments(through)
    assert list(made) == ["pictures"]
    assert_holds(made["pictures"], "pictures")

    assert (through / TARGET).read_bytes() == (without / TARGET).read_bytes()
    assert "Nothing to be done" in str(snakemake(through, TARGET, "-n"))
    assert "Nothing to be done" in str(snakemake(without, TARGET, "-n", "--sdm", "conda", variables=conda))
