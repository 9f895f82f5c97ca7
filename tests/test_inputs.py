"""The first job: settings and ground truth against the pictures that there are, before anything is decoded."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from running import snakemake

from copytrace import configuration, counts
from copytrace.errors import InputError

REPOSITORY = Path(__file__).parent.parent
CONFIG = yaml.safe_load((REPOSITORY / "config.yaml").read_text())


def demand(**changes):
    """What config.yaml asks of the numbers of pictures, with changes of some sections."""
    config = copy.deepcopy(CONFIG)
    for section, values in changes.items():
        config[section] = config[section] | values if isinstance(values, dict) else values
    return configuration.demand(config)


NUMBERS = {"training": 300, "references": 50, "queries": 20}


@pytest.mark.parametrize(
    "changes, numbers, sentence",
    [
        (
            {"images": {"shards": dict.fromkeys(NUMBERS, 1) | {"queries": 21}}},
            {},
            "images.shards.queries asks for 21 jobs, but there are only 20 pictures",
        ),
        (
            {"images": {"shards": dict.fromkeys([*NUMBERS, "backgrounds"], 2)}},
            {"backgrounds": 1},
            "images.shards.backgrounds asks for 2 jobs, but there are only 1 pictures",
        ),
        ({"whitening": {"dimensions": 300, "samples": 20000}}, {}, "than that, but there are only 300"),
        ({"whitening": {"dimensions": 64, "samples": 64}}, {}, "than that, but whitening.samples takes only 64"),
        (
            {"pretraining": {"barlow_twins": {"batch": 301}}},
            {},
            "pretraining.barlow_twins.batch is 301, but there are only 300 training pictures",
        ),
        (
            {"backbone_table": {"resnet10": {"weights": {"source": "momentum_teacher", "batch": 51}}}},
            {"pretraining": 50},
            "backbone_table.resnet10.weights.batch is 51, but there are only 50 pretraining pictures",
        ),
        # Every fifth of 300, and of 301: 60 and 61 classes.
        ({"training": {"steps": 90, "classes_per_batch": 61}}, {}, "classes_per_batch is 61, but with"),
        ({"synthesis": {"class_stride": 5, "shards": 61}}, {}, "only 60 of 300 training pictures are classes"),
        ({"synthesis": {"class_stride": 5, "shards": 62}}, {"training": 301}, "only 61 of 301 training pictures"),
        # 300 pictures less 60 classes; without them left out; a sample of them.
        (
            {"matching": {"neighbours": 241}},
            {},
            "only 240 training pictures that matching.exclude_trained leaves in it",
        ),
        ({"matching": {"neighbours": 301, "exclude_trained": False}}, {}, "background has only 300 training pictures"),
        (
            {"matching": {"neighbours": 201}, "whitening": {"dimensions": 16, "samples": 200}},
            {},
            "matching.neighbours is 201, but the background has only 200 training pictures",
        ),
        # As many pairs as a batch has classes; fewer.
        ({"training": {"classes_per_batch": 16}}, {"pairs": 31}, "classes_per_batch is 16, but the pairs to train on"),
        ({"ensembling": {"rows_per_query": 0.04}}, {}, "for 20 queries is not even one row"),
        # 100 pictures in the background, and one too few beside them; all pictures in it.
        (
            {"verification": {"candidates": ["local"], "fusion": "fitted", "background_pictures": 100}},
            {"training": 1699},
            "verification.fitting asks for 1600 training pictures (originals, negatives, pool), but beside the 100 of "
            "verification.background_pictures there are only 1599",
        ),
        (
            {"verification": {"candidates": ["local"], "fusion": "fitted"}},
            {},
            "beside the 300 of verification.background_pictures there are only 0",
        ),
        (
            {"parts": {"kinds": ["whole", "detected_overlay"]}},
            {"backgrounds": 10},
            "detection.held_out is 0.1: of 10 pictures 1 would be held out and 9 left to train with, but scenes need 2",
        ),
    ],
)
def test_more_than_there_is(changes, numbers, sentence):
    wanted = copy.deepcopy(CONFIG["matching"]) | {"background": "sample"}
    changes["matching"] = wanted | changes.get("matching", {})
    with pytest.raises(InputError) as mistake:
        counts.check(demand(**changes), NUMBERS | numbers)
    assert sentence in str(mistake.value) and "\n" not in str(mistake.value)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"whitening": {"dimensions": 299, "samples": 20000}},
        {"training": {"classes_per_batch": 60}},
        {"synthesis": {"shards": 60}},
        {"matching": {"neighbours": 240}},
        {"ensembling": {"rows_per_query": 0.05}},
        {"verification": {"candidates": [], "fusion": "fitted"}},
        {"verification": {"candidates": ["local"], "fusion": "shipped"}},
        {
            "verification": {
                "candidates": ["local"],
                "fusion": "fitted",
                "background_pictures": 100,
                "fitting": {"originals": 100, "negatives": 40, "pool": 60},
            }
        },
        # Without training there are no classes, and with faces there may be more of them.
        {"training": {"steps": 0, "classes_per_batch": 61}, "matching": {"neighbours": 300}},
        {"families": ["face_CC"], "training": {"classes_per_batch": 61}},
        {"backbones": ["mobilenetv3"], "pretraining": {"barlow_twins": {"batch": 301}}},
        {"parts": {"kinds": ["whole", "detected_overlay"]}},
    ],
)
def test_as_much_as_there_is(changes):
    counts.check(demand(**changes), NUMBERS | {"pairs": 122})


@pytest.fixture
def check(tmp_path):
    """The script on pictures q0 … q19 and r0 … r49; a ground truth's text and what the settings ask for are given."""
    for role, number in NUMBERS.items():
        ids = [f"{role[0]}{i}" for i in range(number)]
        pd.DataFrame({"image_id": ids, "path": ids}).to_parquet(tmp_path / f"{role}.parquet")

    def run(truth: str | None = None, roles: tuple[str, ...] = (*NUMBERS,), **changes) -> subprocess.CompletedProcess:
        command = [sys.executable, REPOSITORY / "workflow_scripts" / "check_inputs.py", "--roles", *roles]
        command += ["--listings", *(f"{role}.parquet" for role in roles), "--counts", "counts.csv"]
        command += ["--demand", json.dumps(demand(**changes))]
        if truth is not None:
            (tmp_path / "truth.csv").write_text(truth)
            command += ["--ground-truth", "truth.csv", "--output", "out.csv"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    return run


def test_the_script_writes_the_numbers_and_the_truth_in_one_form(check, tmp_path):
    assert check("q1,r1\nq2,\n").returncode == 0
    assert (tmp_path / "out.csv").read_text() == "query_id,reference_id\nq1,r1\nq2,\n"
    assert (tmp_path / "counts.csv").read_text() == "role,pictures\ntraining,300\nreferences,50\nqueries,20\n"


def test_the_script_without_a_ground_truth(check, tmp_path):
    assert check().returncode == 0
    assert (tmp_path / "counts.csv").exists() and not (tmp_path / "out.csv").exists()


def test_the_script_refuses_a_query_in_a_pair_and_lets_a_reference_pass(check, tmp_path):
    for name in ("q7", "r7", "p7"):
        (tmp_path / name).write_bytes(name.encode())
    for known, code in (("r7", 0), ("q7", 2), ("p7", 0)):
        pd.DataFrame({"image_id": ["x"] * 32, "path": known}).to_parquet(tmp_path / "pairs.parquet")
        done = check(roles=(*NUMBERS, "pairs"))
        assert done.returncode == code, done.stderr
    assert (tmp_path / "counts.csv").read_text().endswith("pairs,32\n")


@pytest.mark.parametrize(
    "truth, changes, sentence",
    [
        ("q1,r50\n", {}, "the ground truth names a reference that is not among the pictures: 'r50'"),
        ("q1.jpg,r1\n", {}, "'q1.jpg', did you mean 'q1'?"),
        ("q1,r1\nq1,\n", {}, "says of the query 'q1' both that it has a source and that it has none"),
        ("q1,r1\n", {"whitening": {"dimensions": 300}}, "whitening.dimensions is 300"),
    ],
)
def test_the_script_stops_with_one_sentence_and_leaves_nothing(check, tmp_path, truth, changes, sentence):
    done = check(truth, **changes)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and sentence in last and "Traceback" not in done.stderr
    assert not (tmp_path / "counts.csv").exists()


def test_the_home_folder_and_variables_are_filled_in_everywhere(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    for name in ("training.txt", "references.txt", "queries.txt", "truth.txt", "w.npz"):
        (tmp_path / name).touch()
    paths = {"training": "~/training.txt", "references": "$THERE/references.txt", "queries": "~/queries.txt"}
    settings = {"images": paths | {"ground_truth": "~/truth.txt"}}
    settings["backbone_table"] = {
        "resnet10": {"weights": {"source": "file", "path": "~/w.npz", "mapping": "torchvision"}}
    }
    (tmp_path / "overlay.yaml").write_text(yaml.safe_dump(settings))
    variables = {"HOME": str(tmp_path), "THERE": str(tmp_path)}
    dry = snakemake(tmp_path, "-n", overlays=(tmp_path / "overlay.yaml",), variables=variables)
    named = set(re.findall(rf"{re.escape(str(tmp_path))}/[a-z]+\.\w+", dry.stdout + dry.stderr))
    expected = ["training.txt", "references.txt", "queries.txt", "truth.txt", "w.npz"]
    assert named >= {str(tmp_path / name) for name in expected}, dry.stdout + dry.stderr
