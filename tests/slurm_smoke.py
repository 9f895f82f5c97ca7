"""Every rule of `all` as SLURM jobs, by the literal `snakemake --profile slurm`. Run by `make test-slurm`.

With ONE_NODE_SLURM_ACCOUNTING=1 on a cluster with slurmdbd, where the profile names an account and asks sacct.
"""

import re

import pandas as pd
import pytest
from clones import clone, options
from cluster import ACCOUNTING, PROFILE, booked, slurm
from running import REPOSITORY, planned, snakemake

# Every rule of `all`, in as few jobs as that takes; each training by two processes.
OVERLAY = """
images: {shards: {training: 1, references: 1, queries: 1, backgrounds: 1, validation: 1, pairs: 1}}
families: [face_BW]
backbones: [tiny, tiny_ibn_a]
scales: [32]
synthesis: {shards: 1}
tiles: {families: [face_BW], scales: [32]}
training: {devices: 2}
ensembling: {vote: 2, tile_vote: 2}
evaluation: {untrained_families: [pretrained_BW]}
"""
TRAININGS = {"face_BW_tiny", "face_BW_tiny_ibn_a", "pairs_CC_tiny", "pairs_CC_tiny_ibn_a"}
ACCOUNT = "test" if ACCOUNTING else "(null)"


@pytest.fixture(scope="module")
def run(cluster, tmp_path_factory):
    """The folder of the finished run."""
    folder = clone(tmp_path_factory.mktemp("slurm") / "copytrace", OVERLAY)
    if ACCOUNTING:
        site = folder / "profiles" / "slurm" / "config.yaml"
        text = (
            site.read_text().replace("  account: null", "  account: test").replace("command: squeue", "command: sacct")
        )
        site.write_text(text)
    done = snakemake(folder, *PROFILE, **options(folder))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return folder


def asked_by_rules():
    """What the rule files state: a row per rule with `gpus`, `cpus`, `memory` in MB and `time` in minutes.

    Without the rules of the targets `bill` and `descriptor_track`, which are no part of `all`.
    """
    others = {REPOSITORY / "rules" / f"{target}.smk" for target in ("bill", "descriptor_track")}
    files = sorted(set((REPOSITORY / "rules").glob("*.smk")) - others)
    text = "".join(path.read_text() for path in files)
    for several, number in {"16000 * DEVICES": 32000, "DEVICES * NODES": 2, "DEVICES": 2}.items():
        text = text.replace(several, str(number))
    rows = {}
    for block in re.split(r"^rule ", text, flags=re.MULTILINE)[1:]:
        stated = {
            name: int(re.search(pattern, block)[1])
            for name, pattern in {
                "cpus": r"threads: (\d+)",
                "memory": r"mem_mb=memory\((\d+)\)",
                "time": r"runtime=minutes\((\d+)\)",
            }.items()
        }
        gpus = re.search(r"gpu=(\d+)", block)
        rows[block.split(":", 1)[0]] = {"gpus": int(gpus[1]) if gpus else 0, **stated}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("rule")


def test_the_matches_are_there_and_nothing_is_left_to_do(run):
    assert len(pd.read_csv(run / "results" / "matching.csv"))
    assert planned(snakemake(run, "-n", *PROFILE, **options(run))) == {}
    assert planned(snakemake(run, "-n", **options(run))) == {}


def test_every_job_asked_for_what_its_rule_states(run):
    jobs, stated = booked(), asked_by_rules()
    assert set(jobs.state) == {"COMPLETED"}
    asked = jobs[["rule", *stated]].drop_duplicates().set_index("rule")
    pd.testing.assert_frame_equal(asked.sort_index(), stated.sort_index())


def test_a_person_finds_a_job_in_the_queue_and_its_account(run):
    jobs = booked()
    assert set(jobs.account) == {ACCOUNT}
    assert jobs.name.nunique() == 1
    assert set(jobs.wildcards[jobs.rule == "train_model"]) == TRAININGS
    assert not jobs[["rule", "wildcards"]].duplicated().any()
    if ACCOUNTING:
        kept = slurm("sacct", "-X", "--noheader", "--parsable2", "--format=JobIDRaw,State,Account").splitlines()
        assert sorted(kept) == sorted(f"{number}|COMPLETED|{ACCOUNT}" for number in jobs.id)


def test_the_report_has_the_figures_and_the_time_of_every_rule(run):
    """The times on its page of provenance: of cluster jobs those in Snakemake's own statistics are wrong."""
    page = run / "results" / "report.html"
    done = snakemake(run, "--report", str(page), **options(run))
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    shown = {path.relative_to(run).as_posix() for path in (run / "results" / "report").rglob("*.*")}
    assert len(shown) == 12
    assert all(f'"{path}"' in text for path in shown)
    rows = re.findall(r"<tr><td>(\w+)</td>.*>([0-9.]+) s</td>", (run / "results/report/provenance.html").read_text())
    assert {rule for rule, _ in rows} == set(asked_by_rules().index) - {"list_provenance"}
    assert all(float(longest) > 0 for _, longest in rows)
