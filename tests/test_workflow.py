"""The whole workflow at micro size, as a user runs it: `snakemake`, in a folder of its own."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from running import DEADLINE, MICRO, REPOSITORY, planned, snakemake

from copytrace import submission
from copytrace.ensembling import read_pairs
from copytrace.networks.weights import read_weights
from copytrace.verification.feature_files import FeatureFiles
from copytrace.verification.fusion import FEATURES, read_fusion
from copytrace.verification.matches import READ, judge, read_matches

# The first check of the pictures, and what reads the ground truth that it writes.
CHECKED = {"check_inputs", "evaluate", "draw_gallery"}


def overlay(folder: Path, **settings) -> tuple[Path, Path]:
    """The micro configuration with some settings changed, as two files for `--configfile`."""
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(settings))
    return MICRO, path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("micro")
    run = snakemake(folder, "--cores", "2")
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    (folder / "terminal.txt").write_text(run.stderr)
    return folder


def test_matches_are_written_sorted_and_within_bounds(finished):
    matches = pd.read_csv(finished / "results" / "matching.csv")
    assert list(matches.columns) == ["query_id", "reference_id", "score"]
    assert 0 < len(matches) <= 10 * 24
    assert matches.score.is_monotonic_decreasing
    assert not matches.duplicated(["query_id", "reference_id"]).any()
    assert set(matches.query_id) <= {f"Q{i:05d}" for i in range(24)}
    assert set(matches.reference_id) <= {f"R{i:06d}" for i in range(40)}


def test_the_second_list_has_every_pair_at_its_first_score_or_a_larger_one(finished):
    first, second = (
        pd.read_csv(finished / "results" / name).set_index(["query_id", "reference_id"]).score
        for name in ("matching.csv", "matching_second.csv")
    )
    assert len(first) <= len(second) <= 10 * 24
    assert second.is_monotonic_decreasing and second.index.is_unique
    both = first.index.intersection(second.index)
    assert (second[both] >= first[both]).all()
    assert (first.drop(both) <= second.min()).all()
    voted = pd.read_parquet(finished / "results" / "ensembling" / "pairs_CC.parquet")
    assert set(voted.scale) == {32} and len(set(second.index) - set(first.index))


def test_evaluation_has_every_row_of_the_ablation(finished):
    result = json.loads((finished / "results" / "evaluation" / "matching.json").read_text())
    groups = {row["group"] for row in result["rows"]}
    names = {row["name"] for row in result["rows"]}
    assert {"second submission", "pairs_CC"} <= names
    assert {f"{f}.{b}" for f in ("baseline_CC", "face_BW") for b in ("tiny", "tiny_ibn_a", "tiny_12")} <= names
    assert len(groups) >= 4
    assert all(0 <= row["micro_ap"] <= 1 for row in result["rows"])
    gain = json.loads((finished / "results" / "evaluation" / "training_gain.json").read_text())
    assert gain["copies"] == 12
    assert {row["model"] for row in gain["rows"]} == {f"face_BW.{b}" for b in ("tiny", "tiny_ibn_a", "tiny_12")}


def test_every_log_names_inputs_and_outputs_and_ends_with_rate_seconds_and_memory(finished):
    """Held against what Snakemake itself says of the jobs."""
    summary = list(csv.DictReader(snakemake(finished, "--detailed-summary").stdout.splitlines(), delimiter="\t"))
    jobs = {row["log-file(s)"]: row for row in summary}
    logs = {str(path.relative_to(finished)) for path in (finished / "results" / "logs").rglob("*.log")}
    assert set(jobs) == logs
    for row in summary:
        said = (finished / row["log-file(s)"]).read_text()
        assert re.search(rf"output(, \w+)?: (.* )?{re.escape(row['output_file'])}( |\n)", said), said
    for log, row in jobs.items():
        lines = (finished / log).read_text().splitlines()
        named = [line for line in lines if re.match(r"[\d:]{8} input, ", line)]
        inputs = set(filter(None, row["input-file(s)"].split(",")))
        if row["rule"] == "list_provenance":  # it waits for everything and reads little of it
            inputs = {path for path in inputs if path.endswith(("rejected.csv", ".safetensors"))}
        left_out = sum(int(count) - 2 for count in re.findall(r" … \S+ \((\d+) files\)", "\n".join(named)))
        assert len([path for path in inputs if path not in "\n".join(named)]) <= left_out, (inputs, lines)
        rate = r"[\d:]{8} [\d,]+ [a-z ]+ in [\d.]+ s: .*/s, 1 thread\(s\)"
        assert [line for line in lines if re.fullmatch(rate, line)], lines
        assert re.fullmatch(r"[\d:]{8} done in [\d.]+ s, peak memory [\d,]+ MB", lines[-1]), lines
        assert all(re.match(r"[\d:]{8} ", line) for line in lines), lines  # no library has put in a word


def test_the_terminal_says_how_much_is_left_and_what_runs(finished):
    said = (finished / "terminal.txt").read_text()
    left = r"(?:about 0:\d\d:\d\d left|too early to say how long: \d+ of \d+ jobs? left)"
    lines = re.findall(rf"^0:\d\d:\d\d so far, {left}.*; under way: (.*)$", said, re.MULTILINE)
    assert lines, said
    folder = finished / "results" / "logs"
    logs = {str(path.relative_to(folder)) for path in folder.rglob("*.log")}
    assert {f"{name}.log" for line in lines for name in line.split(", ")} <= logs


def test_the_run_ends_with_what_was_made(finished):
    said = (finished / "terminal.txt").read_text()
    matches = pd.read_csv(finished / "results" / "matches.csv")
    assert "The results are results/matching.csv (the ranked list),\n" in said
    assert f"  results/matches.csv (verified: {matches.decision.sum()} of {len(matches)} pairs " in said
    assert "The results are" not in str(snakemake(finished, "-n"))


def test_queries_have_parts_that_the_detector_found(finished):
    """Rank by rank as in the detector's table, inside the query."""
    results = finished / "results"
    parts = pd.read_parquet(results / "parts" / "queries.parquet")
    overlays = parts[parts["kind"] == "detected_overlay"]
    found = pd.concat(map(pd.read_parquet, sorted((results / "detection" / "queries").glob("*.parquet"))))
    found = found[found["class"] == "overlay"]
    assert len(overlays) > 0
    assert overlays[["image_id", "rank"]].to_numpy().tolist() == found[["image_id", "rank"]].to_numpy().tolist()
    whole = parts[parts["kind"] == "whole"].set_index("image_id").loc[overlays["image_id"]]
    assert (overlays["x1"].to_numpy() <= whole["x1"].to_numpy()).all()
    measured = json.loads((results / "evaluation" / "detection.json").read_text())
    assert measured["scenes"] == 4 and set(measured["classes"]) == {"overlay", "emoji"}


def test_matches_are_verified_with_evidence_in_bounds(finished):
    results = finished / "results"
    matches = pd.read_csv(results / "matches.csv")
    boxes = [f"{of}_{side}" for of in ("query", "reference") for side in ("x0", "y0", "x1", "y1")]
    assert list(matches.columns) == [
        *("query_id", "reference_id", "probability", "decision", "mirrored", "inliers"), *boxes, "transform"
    ]  # fmt: skip
    assert 24 * 3 <= len(matches) <= 24 * 6 and not matches.duplicated(["query_id", "reference_id"]).any()
    assert matches.probability.is_monotonic_decreasing and matches.probability.between(0, 1).all()
    decided = matches.decision.tolist()
    assert decided == sorted(decided, reverse=True)
    located = matches[matches.inliers > 0]
    assert len(located) >= 12  # as many as there are copies
    assert located[[*boxes, "transform"]].notna().all(axis=None)
    assert matches[matches.inliers == 0][[*boxes, "transform"]].isna().all(axis=None)
    for role, of in (("queries", "query"), ("references", "reference")):
        frames = pd.read_parquet(results / "images" / f"{role}.parquet").set_index("image_id").loc[located[f"{of}_id"]]
        for low, high, side in (("x0", "x1", "width"), ("y0", "y1", "height")):
            assert (located[f"{of}_{low}"] >= -0.01).all()
            assert (located[f"{of}_{low}"] <= located[f"{of}_{high}"]).all()
            assert (located[f"{of}_{high}"].to_numpy() <= frames[side].to_numpy() + 0.01).all()
    measured = json.loads((results / "evaluation" / "matches.json").read_text())
    names = [row["name"] for row in measured["rows"]]
    assert names[0] == "ranked list" and "+ other candidates" in names and names[-1] == "verified matches"
    assert measured["decision"]["called"] == sum(decided)
    assert sum(row["pairs"] for row in measured["reliability"]) == len(matches)


@pytest.mark.parametrize(
    "settings, rules",
    [
        ({"decision": 0.9}, {"judge_pairs", "evaluate_matches", "draw_evidence"}),
        (
            {"search": {"neighbours": 5}},
            {"measure_pairs", "judge_pairs", "evaluate_matches", "draw_evidence"}
            | {"plan_trials", "extract_trials", "fit_fusion"},
        ),
        ({"fitting": {"precision": 0.6}}, {"fit_fusion", "judge_pairs", "evaluate_matches", "draw_evidence"}),
        # Fitting asks for training pictures: without it the first check is another, and makes the ground truth again.
        ({"fusion": "shipped"}, {"judge_pairs", "evaluate_matches", "draw_evidence", *CHECKED}),
        ({"candidates": []}, CHECKED),
    ],
)
def test_a_setting_of_the_verification_reruns_what_depends_on_it(finished, tmp_path, settings, rules):
    jobs = planned(snakemake(finished, "-n", overlays=overlay(tmp_path, verification=settings)))
    assert set(jobs) == {*rules, "list_provenance", "all"}


def test_each_source_of_candidates_needs_only_its_own(tmp_path):
    wanted = {}
    for source in ("local", "matching"):
        only = overlay(tmp_path, verification={"candidates": [source], "fusion": "shipped"})
        wanted[source] = set(planned(snakemake(tmp_path, "results/matches.csv", "-n", overlays=only)))
    assert "index_references" in wanted["local"] and "describe" not in wanted["local"]
    assert "index_references" not in wanted["matching"] and "combine_families" in wanted["matching"]


def test_trees_are_fitted_to_training_pictures_outside_the_background(finished):
    results = finished / "results"
    parts = {
        part: set(pd.read_parquet(results / "verification" / "trials" / f"{part}.parquet").image_id)
        for part in ("originals", "negatives", "pool")
    }
    parts["background"] = set(FeatureFiles([str(results / "verification/features/training/0-of-1.h5")]).image_ids)
    assert {part: len(pictures) for part, pictures in parts.items()} == {
        "originals": 16, "negatives": 6, "pool": 8, "background": 8
    }  # fmt: skip
    training = set(pd.read_parquet(results / "images" / "training.parquet").image_id)
    assert len(set.union(*parts.values()) & training) == 16 + 6 + 8 + 8
    trees = read_fusion(results / "verification" / "trials" / "trees.json")
    assert trees.features == [name for name in FEATURES if not name.startswith("global")]
    table = pd.read_csv(results / "evaluation" / "fitting_table.csv")
    pairs = table.groupby("queries").pairs.sum()
    assert pairs["copies and negatives"] == 3 * (16 + 6) and pairs["look-alikes, too"] == 3 * (16 + 6 + 4)
    measured = pd.read_parquet(sorted((results / "verification" / "pairs" / "queries").glob("*.parquet")), columns=READ)
    again = judge(measured, trees, trees.decision)
    assert again.probability.tolist() == read_matches(results / "matches.csv").probability.tolist()


def test_no_checkpoint_is_left_behind(finished):
    assert not list((finished / "results" / "checkpoints").rglob("*.ckpt"))


def test_a_second_run_does_nothing(finished):
    run = snakemake(finished, "--cores", "2")
    assert run.returncode == 0
    assert "Nothing to be done" in run.stdout + run.stderr


def test_a_face_family_has_classes_that_the_base_has_not(finished):
    classes = {}
    for family in ("baseline_CC", "face_BW"):
        tables = (finished / "results" / "synthesis" / family).glob("*.parquet")
        classes[family] = set(pd.concat(map(pd.read_parquet, tables)).class_id)
    assert len(classes["baseline_CC"]) == 10  # every fourth of 40 training pictures
    assert classes["face_BW"] > classes["baseline_CC"]


@pytest.fixture(scope="module")
def track(finished, tmp_path_factory):
    """The descriptor track after the matching track, queries replaced by any box that the untrained detector finds."""
    folder = tmp_path_factory.mktemp("track")
    shutil.copytree(finished / "results", folder / "results")
    shutil.copytree(finished / ".snakemake", folder / ".snakemake", ignore=shutil.ignore_patterns("locks"))
    published = {"descriptors": {"kind": "embedding"}, "descriptor_track": {"replacement": {"confidence": 0.0}}}
    replaced = overlay(folder, **published)
    run = snakemake(folder, "descriptor_track", "--cores", "2", overlays=replaced)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    return folder, replaced, run.stdout + run.stderr


def test_the_descriptor_track_adds_only_what_is_new_in_it(track):
    folder, replaced, said = track
    jobs = set(re.findall(r"^(?:local)?rule (\w+):", said, re.MULTILINE))
    assert jobs == {
        "synthesise", "train_model", "draw_synthesis_sheet", "describe",  # the rules of every family
        "replace_queries", "stretch_descriptors", "evaluate_descriptors", "draw_nearest", "draw_track_curve",
        "descriptor_track",
    }  # fmt: skip
    again = snakemake(folder, "-n", "descriptor_track", overlays=replaced)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_the_descriptor_track_describes_every_picture_in_the_official_layout(track):
    folder, *_ = track
    queries, references = submission.read_submission(folder / "results" / "descriptors.h5")
    assert queries.ids == [f"Q{i:05d}" for i in range(24)]
    assert references.ids == [f"R{i:06d}" for i in range(40)]
    assert queries.vectors.shape[1] == references.vectors.shape[1] == 16
    np.testing.assert_allclose(np.linalg.norm(references.vectors, axis=1), 1, rtol=1e-5)
    files = sorted((folder / "results" / "descriptors" / "track_CC.tiny").rglob("*.h5"))
    shards = ["queries/0-of-2.h5", "queries/1-of-2.h5", "references/0-of-1.h5", "training/0-of-1.h5"]
    assert [str(path.relative_to(path.parents[1])) for path in files] == shards  # nothing is whitened
    result = json.loads((folder / "results" / "evaluation" / "descriptors.json").read_text())
    assert len(result["rows"]) == 3 * 5 and len(result["steps"]) == 3 + 4
    parts = pd.read_parquet(folder / "results" / "descriptor_track" / "queries.parquet")
    assert len(parts) == 24 and result["protocol"]["replaced_queries"] == (parts.kind == "detected_overlay").sum() > 0
    assert result["protocol"]["background"] == 30  # 40 training pictures without ten classes
    _, header = read_weights(folder / "results" / "models" / "track_CC.tiny.safetensors")
    assert header["matrix"] == 16


@pytest.mark.parametrize(
    "settings, rules",
    [
        ({"stretching": {"factor": 3.0}}, {"stretch_descriptors"}),
        ({"replacement": {"box": "last_wins"}}, {"replace_queries", "describe", "stretch_descriptors"}),
        ({"detach_teacher": True}, {"train_model", "draw_track_curve", "describe", "stretch_descriptors"}),
    ],
)
def test_a_setting_of_the_descriptor_track_reruns_what_depends_on_it(finished, track, tmp_path, settings, rules):
    folder, replaced, _ = track
    changed = (*replaced, overlay(tmp_path, descriptor_track=settings)[1])
    assert set(planned(snakemake(folder, "-n", "descriptor_track", overlays=changed))) == {
        *rules, "evaluate_descriptors", "draw_nearest", "descriptor_track",
    }  # fmt: skip
    changed = overlay(tmp_path, descriptor_track=settings)
    assert not set(planned(snakemake(finished, "-n", overlays=changed))) - {"all", "list_provenance"}


@pytest.mark.parametrize("factor", [0, 1])
def test_a_feature_of_the_descriptor_track_is_whitened(finished, tmp_path, factor):
    changed = overlay(tmp_path, family_table={"track_CC": {"steps_factor": factor}})
    jobs = planned(snakemake(finished, "-n", "descriptor_track", overlays=changed))
    assert jobs["fit_whitening"] == 1 and jobs["describe"] == 4
    assert {jobs.get(rule, 0) for rule in ("train_model", "draw_track_curve", "draw_synthesis_sheet")} == {factor}


def test_made_again_the_matches_have_the_same_bytes(finished, tmp_path):
    """From one trained model on: its training, descriptors, pairs, votes and the final list."""
    shutil.copytree(finished / "results", tmp_path / "results")
    shutil.copytree(finished / ".snakemake", tmp_path / ".snakemake", ignore=shutil.ignore_patterns("locks"))
    matches = tmp_path / "results" / "matching.csv"
    before = matches.read_bytes()
    again = ("--forcerun", "results/models/face_BW.tiny.safetensors")
    run = snakemake(tmp_path, *again, "--cores", "2", "results/matching.csv")
    assert run.returncode == 0, run.stderr[-4000:]
    assert "rule train_model" in run.stdout + run.stderr
    assert matches.read_bytes() == before


def test_summary_and_graphs(finished):
    summary = snakemake(finished, "--summary")
    assert summary.returncode == 0
    assert "results/matching.csv" in summary.stdout
    graph = snakemake(finished, "--rulegraph")
    assert graph.returncode == 0
    assert "digraph" in graph.stdout


def test_one_familys_setting_reruns_only_what_depends_on_it(finished, tmp_path):
    changed = overlay(tmp_path, family_table={"face_BW": {"steps_factor": 1.5}})
    dry = snakemake(finished, "-n", overlays=changed)
    assert dry.returncode == 0, dry.stderr
    lines = [line for line in dry.stdout.splitlines() if line.startswith("train_model")]
    assert lines, dry.stdout
    assert lines[0].split()[1] == "3"
    assert not [line for line in dry.stdout.splitlines() if line.startswith(("synthesise", "draw_sample"))]


def test_other_shards_give_the_same_pairs(finished, tmp_path):
    """Of a family's models, trained anew. Scores agree to 1e-5 and pairs too, but for those within 1e-5 of a cut."""
    shutil.copytree(finished / "results", tmp_path / "results")
    shutil.copytree(finished / ".snakemake", tmp_path / ".snakemake", ignore=shutil.ignore_patterns("locks"))
    shards = {"training": 2, "references": 3, "queries": 3}
    changed = overlay(tmp_path, images={"shards": shards}, matching={"shards": 3})
    tables = [f"results/matching/{of}baseline_CC.parquet" for of in ("", "tiles/")]
    run = snakemake(tmp_path, "--cores", "2", *tables, overlays=changed)
    assert run.returncode == 0, run.stderr[-4000:]
    assert re.search(r"^train_model +3$", run.stdout + run.stderr, re.MULTILINE)
    for stage in ("descriptors", "matching/normalisation", "matching/parts", "matching/tiles"):
        assert list((tmp_path / "results" / stage).rglob("2-of-3.*"))
    for table in tables:
        before, after = (dict(list(read_pairs([folder / table]).groupby(["model", "scale"], observed=True)))
                         for folder in (finished, tmp_path))  # fmt: skip
        assert before.keys() == after.keys() and len(before) == (3 if "tiles" in table else 6)
        for one, other in ((before[search], after[search]) for search in before):
            names = ["query_id", "query_part", "reference_id", "reference_part"]
            one, other = (pairs.astype(dict.fromkeys(names, str)).set_index(names).score for pairs in (one, other))
            both = one.index.intersection(other.index)
            assert len(both) > 200 and (one[both] - other[both]).abs().max() <= 1e-5
            cut = min(one.min(), other.min()) + 1e-5
            assert (one.drop(both) <= cut).all()
            assert (other.drop(both) <= cut).all()


def test_float16_is_measured_on_a_finished_run(finished):
    """Of vectors of 16 numbers: similarities differ by a few thousandths of one at most, pairs hardly."""
    command = [sys.executable, REPOSITORY / "benchmarks" / "storage.py", "--results", finished / "results"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 models" in done.stdout
    rows = {line.split(" | ")[0][2:]: line.split(" | ")[1:] for line in done.stdout.splitlines() if "| " in line}
    assert rows["as stored"][:2] == ["1.0000", "0.0e+00"]
    for kind, closeness in (("float16", 2e-3), ("bf16", 2e-2)):
        common, difference = map(float, rows[kind][:2])
        assert 0.97 < common <= 1 and 0 < difference < closeness


def test_drawing_more_references_redraws_no_training_pictures(finished, tmp_path):
    dry = snakemake(finished, "-n", overlays=overlay(tmp_path, sample={"references": 44}))
    jobs = planned(dry)
    assert "drawn/references" in dry.stdout
    assert jobs["train_model"] == 3  # on pairs, whose originals are references
    assert "synthesise" not in jobs


def test_more_queries_rerun_nothing_of_the_training(finished, tmp_path):
    jobs = planned(snakemake(finished, "-n", overlays=overlay(tmp_path, sample={"queries": 26})))
    assert jobs["check_inputs"] == 1
    assert jobs["scan_images"] == 2  # the shards of the queries
    assert not {"prepare_backbone", "pretrain_backbone", "synthesise", "train_model", "fit_whitening"} & set(jobs)


def test_new_queries_hide_no_changed_setting(finished, tmp_path):
    changed = overlay(tmp_path, sample={"queries": 26}, whitening={"power": -0.25})
    assert planned(snakemake(finished, "-n", overlays=changed))["fit_whitening"] == 4


@pytest.mark.parametrize(
    "settings, rule",
    [({"whitening": {"dimensions": 12}}, "fit_whitening"), ({"matching": {"neighbours": 8}}, "normalise_queries")],
)
def test_a_setting_that_the_first_check_reads_reruns_what_uses_it(finished, tmp_path, settings, rule):
    jobs = planned(snakemake(finished, "-n", overlays=overlay(tmp_path, **settings)))
    assert rule in jobs
    assert not {"scan_images", "train_model"} & set(jobs)


def test_another_way_with_bad_pictures_makes_no_manifest_anew(finished, tmp_path):
    dry = snakemake(finished, "-n", overlays=overlay(tmp_path, images={"on_bad_image": "fail"}))
    assert set(planned(dry)) <= {"all", "list_provenance"}


def test_how_the_work_is_carried_out_reruns_nothing(finished, tmp_path):
    changed = overlay(tmp_path, execution={"workers": 3, "checkpoint_every": 7})
    dry = snakemake(finished, "-n", overlays=changed)
    assert dry.returncode == 0, dry.stderr
    assert "Nothing to be done" in dry.stdout + dry.stderr


OWN = """
images: {{shards: {{references: 7}}}}  # one for each of them, and one cannot be read
results: {results}
families: [pretrained_CC]
backbones: [tiny]
tiles: {{families: [], scales: []}}
second_submission: {{families: []}}
scales: [32]
matching: {{weight: 0}}
verification: {{fusion: shipped}}
ensembling: {{vote: 1, tile_vote: 1}}
evaluation: {{untrained_families: [], bootstrap_samples: 20}}
parts: {{kinds: [whole, rotation, selective_search]}}
backbone_table:
  tiny: {{network: resnet10_tiny, weights: {{source: none}}}}
"""


@pytest.fixture(scope="module")
def own_pictures(finished, tmp_path_factory):
    """Pictures as people have them: a list file, subfolders, odd names, a broken file; copies are the same files."""
    folder = tmp_path_factory.mktemp("own pictures")
    drawn = finished / "results" / "images" / "drawn"
    training = sorted((drawn / "training").glob("*.jpg"))
    (folder / "list.txt").write_text("".join(f"{path}\n" for path in training))
    references, queries = folder / "my references", folder / "queries"
    names = ["plain", "with, comma", 'with "quotes"', "sub folder/of its own", "ümlaut$HOME", "sub folder/plain"]
    pairs = []
    for number, (name, source) in enumerate(zip(names, sorted((drawn / "references").glob("*.jpg")))):
        for target in (references / f"{name}.jpg", queries / f"q {number}.jpg"):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        pairs.append({"query_id": f"q {number}", "reference_id": name})
    (references / "broken.jpg").write_bytes(training[0].read_bytes()[:3000])
    pd.DataFrame(pairs).to_csv(folder / "truth.csv", index=False)

    config = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    config["images"] |= {
        "training": str(folder / "list.txt"),
        "references": str(references),
        "queries": str(queries),
        "ground_truth": str(folder / "truth.csv"),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return folder


def test_own_pictures_without_training(own_pictures, tmp_path):
    settings = tmp_path / "own.yaml"
    settings.write_text(OWN.format(results=tmp_path / "elsewhere"))
    run = snakemake(own_pictures, "--cores", "2", overlays=(MICRO, settings))
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    matches = pd.read_csv(tmp_path / "elsewhere" / "matching.csv")
    truth = pd.read_csv(own_pictures / "truth.csv")
    assert len(truth.merge(matches, on=["query_id", "reference_id"])) == len(truth)
    rejected = pd.read_csv(tmp_path / "elsewhere" / "images" / "rejected.csv")
    assert [Path(path).name for path in rejected.path] == ["broken.jpg"]
    result = json.loads((tmp_path / "elsewhere" / "evaluation" / "matching.json").read_text())
    assert result["rows"][0]["micro_ap"] > 0.8  # the copies are the same files

    added = own_pictures / "queries" / "one more.jpg"
    shutil.copy(own_pictures / "queries" / "q 0.jpg", added)
    try:
        dry = snakemake(own_pictures, "-n", overlays=(MICRO, settings))
    finally:
        added.unlink()
    jobs = planned(dry)
    assert jobs["check_inputs"] == jobs["list_images"] == 1
    assert jobs["scan_images"] == jobs["cut_query_parts"] == 2  # the shards of the queries
    assert not {"prepare_backbone", "fit_whitening"} & set(jobs)


def test_known_pairs_of_a_user_are_trained_on_unless_a_query_is_among_them(own_pictures, tmp_path):
    training = [Path(line) for line in (own_pictures / "list.txt").read_text().splitlines()]
    (tmp_path / "torn.jpg").write_bytes(training[0].read_bytes()[:2000])
    names = [(f"{a}", f"{b}") for a, b in zip(training[:12:2], training[1:12:2])] + [("torn.jpg", f"{training[12]}")]
    pd.DataFrame(names, columns=["query", "reference"]).to_csv(tmp_path / "pairs.csv", index=False)
    settings = yaml.safe_load(OWN.format(results=tmp_path / "results"))
    settings["images"]["training_pairs"] = str(tmp_path / "pairs.csv")
    settings["second_submission"] = {"families": ["pairs_CC"], "vote": 1}
    target = str(tmp_path / "results" / "pairs" / "pairs_CC.parquet")
    run = snakemake(own_pictures, target, "--cores", "2", overlays=overlay(tmp_path, **settings))
    assert run.returncode == 0, run.stderr[-3000:]
    assert pd.read_parquet(target).class_id.tolist() == [n // 2 for n in range(12)]
    rejected = (tmp_path / "results" / "images" / "rejected" / "pairs.csv").read_text()
    assert rejected.count("\n") == 2 and f"pairs,{tmp_path}/torn.jpg," in rejected

    query = own_pictures / "queries" / "q 3.jpg"
    shutil.copy(query, tmp_path / "torn.jpg")
    pd.DataFrame(names, columns=["query", "reference"]).to_csv(tmp_path / "pairs.csv", index=False)
    run = snakemake(own_pictures, "--cores", "2", overlays=overlay(tmp_path, **settings))
    assert run.returncode != 0
    sentence = f"it is {query}, in a pair as {tmp_path / 'torn.jpg'}"
    assert sentence in (tmp_path / "results" / "logs" / "check_inputs.log").read_text()
    assert sentence in run.stdout + run.stderr
    assert not (tmp_path / "results" / "models").exists()


def test_backbones_learn_from_pictures_of_their_own(own_pictures, tmp_path):
    """A role like the others, with shards and rejected pictures; nothing of it is read where no backbone learns."""
    pictures = tmp_path / "pictures"
    shutil.copytree(own_pictures / "my references", pictures)  # six and a broken one
    learning = {
        "backbone_table": {"tiny_ibn_a": {"weights": {"batch": 3}}},
        "images": {"pretraining": str(pictures)},
        "second_submission": {"families": []},
    }
    changed = overlay(tmp_path, results=str(tmp_path / "results"), **learning)
    run = snakemake(own_pictures, "--cores", "2", str(tmp_path / "results/pretraining/tiny_ibn_a.safetensors"),
                    overlays=changed)  # fmt: skip
    assert run.returncode == 0, run.stderr[-4000:]
    assert len(pd.read_csv(tmp_path / "results" / "pretraining" / "tiny_ibn_a.curve.csv")) == 3  # steps of its own
    assert len(pd.read_parquet(tmp_path / "results" / "images" / "pretraining.parquet")) == 6
    assert not (tmp_path / "results" / "images" / "training.parquet").exists()

    drawn = {name: {"weights": {"source": "none"}} for name in ("tiny", "tiny_ibn_a")}
    elsewhere = overlay(tmp_path, results=str(tmp_path / "other"), **(learning | {"backbone_table": drawn}))
    assert "images/listings/pretraining" not in snakemake(own_pictures, "-n", overlays=elsewhere).stdout
    changed = overlay(tmp_path, results=str(tmp_path / "other"), **learning)
    assert "images/listings/pretraining" in snakemake(own_pictures, "-n", overlays=changed).stdout


def test_a_new_picture_is_noticed(own_pictures, tmp_path):
    settings = tmp_path / "own.yaml"
    settings.write_text(OWN.format(results=tmp_path / "results"))
    target = "results/images/listings/references.parquet".replace("results", str(tmp_path / "results"), 1)
    assert snakemake(own_pictures, "--cores", "1", target, overlays=(MICRO, settings)).returncode == 0
    assert "Nothing to be done" in str(snakemake(own_pictures, "-n", target, overlays=(MICRO, settings)))
    added = own_pictures / "my references" / "sub folder" / "new.jpg"
    shutil.copy(own_pictures / "queries" / "q 0.jpg", added)
    try:
        assert "list_images" in snakemake(own_pictures, "-n", target, overlays=(MICRO, settings)).stdout
    finally:
        added.unlink()


@pytest.mark.parametrize(
    "settings",
    [
        {"training": {"steps": 0}, "second_submission": {"families": []}, "descriptors": {"unit": "model"}},
        {"descriptors": {"kind": "embedding"}},
        {"families": ["baseline_CC"], "evaluation": {"untrained_families": []}},
        {"families": ["pretrained_CC", "baseline_CC"], "tiles": {"families": []}},
        {"matching": {"exclude_trained": False, "background": "sample"}},
        {
            "backbone_table": {
                "tiny": {"weights": {"source": "url", "url": "https://a.org/b.pth", "mapping": "torchvision"}}
            }
        },
    ],
)
def test_other_settings_plan_a_run(tmp_path, settings):
    dry = snakemake(tmp_path, "-n", overlays=overlay(tmp_path, **settings))
    assert dry.returncode == 0, dry.stderr[-2000:]
    assert "combine_families" in dry.stdout


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"queries": "nowhere"}, "error: the folder or list file nowhere does not exist"),
        ({"ground_truth": "no.csv"}, "error: the ground truth no.csv cannot be read: No such file or directory"),
        ({"shards": {"queries": 7}}, "error: images.shards.queries asks for 7 jobs, but there are only 6 pictures"),
    ],
)
def test_a_mistake_in_the_inputs_is_one_sentence_before_anything_expensive(own_pictures, tmp_path, change, sentence):
    settings = yaml.safe_load(OWN.format(results=tmp_path / "results"))
    settings["images"] |= change
    run = snakemake(own_pictures, "--cores", "2", overlays=overlay(tmp_path, **settings))
    assert run.returncode != 0
    assert sentence in [line.strip() for line in (run.stdout + run.stderr).splitlines()]
    assert "Traceback" not in run.stdout + run.stderr
    logs = {path.relative_to(tmp_path / "results" / "logs").parts[0] for path in tmp_path.rglob("*.log")}
    assert logs <= {"list_images", "check_inputs.log", "scan_images", "merge_manifests", "prepare_backbone"}


def report_of(folder, path, *targets, overlays=(MICRO,)):
    """Results by path and the opening text of the report on a finished run."""
    run = snakemake(folder, *targets, "--report", str(path), overlays=overlays)
    assert run.returncode == 0, run.stderr[-3000:]
    html = path.read_text()
    # the page's own scripts come first, and one of them has a variable of that name
    texts = {name: html.rsplit(f"var {name} = ", 1)[1] for name in ("results", "workflow_desc")}
    return {name: json.JSONDecoder().raw_decode(text)[0] for name, text in texts.items()}


def test_the_report_has_every_result_with_a_caption(finished, tmp_path):
    report = report_of(finished, tmp_path / "report.html")
    assert set(report["results"]) == {
        *(f"results/report/matches/{kind}.png" for kind in ("right", "wrong", "missed", "copies", "doubtful")),
        *(f"results/evaluation/{name}" for name in ("ablation.png", "precision_recall.png", "training_gain.png")),
        *(f"results/evaluation/{name}" for name in ("matching_table.csv", "matches_table.csv", "reliability.png")),
        "results/evaluation/matches_precision_recall.png",
        *(f"results/evaluation/{name}" for name in ("fitting.png", "fitting_table.csv")),
        "results/report/training_curves.png",
        *(f"results/report/pretraining/{method}.png" for method in ("barlow_twins", "momentum_teacher")),
        "results/report/detector_curve.png",
        "results/report/detection.jpg",
        "results/report/synthesis/baseline_CC.jpg",
        "results/report/synthesis/face_BW.jpg",
        "results/report/provenance.html",
    }
    texts = [report["workflow_desc"], *(result["caption"] for result in report["results"].values())]
    assert all(len(text) > 200 for text in texts)
    assert not [text for text in texts if "system-message" in text or "{{" in text or "{%" in text]
    full = json.loads((finished / "results" / "evaluation" / "matching.json").read_text())["summary"]["full"]
    assert f"<td>{full['micro_ap']:.3f}</td>" in report["workflow_desc"]


def test_the_report_of_the_descriptor_track_has_every_result_with_a_caption(track, tmp_path):
    folder, replaced, _ = track
    report = report_of(folder, tmp_path / "report.html", "descriptor_track", overlays=replaced)
    assert set(report["results"]) == {
        *(f"results/report/descriptor_track/{kind}.png" for kind in ("right", "wrong", "missed", "training_curve")),
        *(f"results/evaluation/descriptors_{name}" for name in ("table.csv", "precision_recall.png")),
        "results/report/synthesis/track_CC.jpg",
    }
    texts = [result["caption"] for result in report["results"].values()]
    assert all(len(text) > 200 for text in texts)
    assert not [text for text in texts if "system-message" in text or "{{" in text or "{%" in text]


def test_provenance_shows_the_configuration_of_the_run(finished):
    page = (finished / "results" / "report" / "provenance.html").read_text()
    assert "families: [baseline_CC, face_BW]" in page  # of the overlay, not of config.yaml
    assert page.count(".safetensors") == 9 + 3 + 1  # models, backbones, detector
    assert '<td>train_model</td><td class="number">9</td>' in page


def test_provenance_shows_threads_of_the_command_line(finished, tmp_path):
    shutil.copytree(finished / "results", tmp_path / "results")
    shutil.copytree(finished / ".snakemake", tmp_path / ".snakemake", ignore=shutil.ignore_patterns("locks"))
    page = "results/report/provenance.html"
    command = (page, "--cores", "2", "--set-threads", "train_model=2")
    assert planned(snakemake(tmp_path, "-n", *command)) == {"list_provenance": 1}
    run = snakemake(tmp_path, *command)
    assert run.returncode == 0, run.stderr[-4000:]
    cells = '<td>{}</td><td class="number">9</td><td class="number">{}</td>'  # rule, jobs, threads
    assert cells.format("train_model", 1) in (finished / page).read_text()
    assert cells.format("train_model", 2) in (tmp_path / page).read_text()


def test_two_folders_are_enough(own_pictures, tmp_path):
    """Without training pictures drawn scenes stand in; without a ground truth the best matches are shown."""
    settings = tmp_path / "own.yaml"
    settings.write_text(OWN.format(results=tmp_path / "results"))
    overlays = (*overlay(tmp_path, images={"ground_truth": None, "training": None}), settings)
    run = snakemake(own_pictures, "--cores", "2", overlays=overlays)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    report = report_of(own_pictures, tmp_path / "report.html", overlays=overlays)
    folder = tmp_path / "results" / "report"
    galleries = {str(folder / "matches" / f"{kind}.png") for kind in ("best", "copies", "doubtful")}
    assert set(report["results"]) == {*galleries, str(folder / "provenance.html")}
    matches = pd.read_csv(tmp_path / "results" / "matches.csv")
    truth = pd.read_csv(own_pictures / "truth.csv")
    assert len(truth.merge(matches[matches.decision], on=["query_id", "reference_id"])) == len(truth)
    assert "micro-AP" not in report["workflow_desc"]
    assert "broken.jpg" in (folder / "provenance.html").read_text()
