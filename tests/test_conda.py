"""An environment that Snakemake's conda deployment makes, and jobs through it; all environments: `make test-envs`."""

from environments import assert_holds, conda_for, made_environments
from running import snakemake

TARGET = "results/images/references.parquet"  # of four rules that share an environment
SCRIPTS = ("draw_sample.py", "list_images.py", "scan_images.py", "merge_manifests.py")


def test_jobs_run_in_an_environment_that_conda_made(tmp_path):
    conda = conda_for(["pictures"], tmp_path)
    without, through = tmp_path / "without", tmp_path / "through"
    without.mkdir()
    through.mkdir()
    stray = snakemake(through, TARGET, "--cores", "2", variables=conda.variables)
    assert "error: this job runs in no conda environment" in stray.stdout + stray.stderr
    for run in (
        snakemake(without, TARGET, "--cores", "2"),
        snakemake(through, TARGET, "--cores", "2", "--sdm", "conda", variables=conda.variables),
    ):
        assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]

    assert conda.activations() == {("pictures", script) for script in SCRIPTS}
    made = made_environments(through)
    assert list(made) == ["pictures"]
    assert_holds(made["pictures"], "pictures")

    assert (through / TARGET).read_bytes() == (without / TARGET).read_bytes()
    assert "Nothing to be done" in str(snakemake(through, TARGET, "-n"))
    assert "Nothing to be done" in str(snakemake(without, TARGET, "-n", "--sdm", "conda", variables=conda.variables))
