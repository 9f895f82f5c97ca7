"""A stranger's folder: every file of it is used rightly, or stands in the rejected list with its reason."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import hostile
import numpy as np
import pandas as pd
import pytest
import yaml
from running import MICRO, REPOSITORY, snakemake

from copytrace import folders, imaging, manifests
from copytrace.descriptor_files import read_rows, read_vectors

# Pillow grumbles about odd metadata; the loader mutes that, but pytest unmutes it.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")

SCRIPTS = REPOSITORY / "workflow_scripts"
GIGABYTE = 1000  # MB


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return hostile.build(tmp_path_factory.mktemp("a stranger's"))


def run_script(name, *arguments):
    """Run a script: what it wrote to standard error.

    A shell lies between, since Linux counts a process' memory before `exec` as its own, and that of the tests is large.
    """
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, SCRIPTS / f"{name}.py", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stderr


def scan(source, results):
    """List and scan a folder: (manifest, rejected, what the scan said)."""
    results.mkdir()
    names = {name: results / name for name in ("listing.parquet", "listing.csv", "manifest.parquet", "scan.csv")}
    listing = ("--listing", names["listing.parquet"], "--rejected", names["listing.csv"])
    run_script("list_images", "--source", source, "--role", "queries", *listing)
    outputs = ("--manifest", names["manifest.parquet"], "--rejected", names["scan.csv"])
    flags = ("--listing", names["listing.parquet"], "--role", "queries", "--threads", 1)
    said = run_script("scan_images", *flags, *outputs)
    rejected = pd.concat([manifests.read_rejected(names[name]) for name in ("listing.csv", "scan.csv")])
    return pd.read_parquet(names["manifest.parquet"]), rejected, said


def peak_memory(said):
    """The largest resident size of a scan in MB, by its own last line."""
    return float(re.search(r"peak memory (\d+) MB$", said.strip())[1])


@pytest.fixture(scope="module")
def scanned(folder, tmp_path_factory):
    return scan(folder.path, tmp_path_factory.mktemp("scanned") / "results")


def below(folder, paths):
    """Paths as the tables have them, relative to the folder."""
    return [path.removeprefix(f"{folder.path}/") for path in paths]


def test_every_file_is_used_or_rejected_and_none_is_both(folder, scanned):
    manifest, rejected, _ = scanned
    found = below(folder, manifest.path) + below(folder, rejected.path)
    printable = {
        name: os.fsencode(name).decode("utf-8", "backslashreplace").replace("\r", r"\r") for name in folder.rejected
    }
    assert sorted(found) == sorted([*folder.used, *printable.values()])
    assert set(below(folder, manifest.path)) == set(folder.used)
    reasons = dict(zip(below(folder, rejected.path), rejected.reason))
    unlike = {
        name: reasons[shown]
        for name, shown in printable.items()
        if not re.search(folder.rejected[name], reasons[shown])
    }
    assert unlike == {}


def test_the_expectations_leave_no_file_out(folder):
    """Counted by the file system, not by the code under test."""
    there = {
        str(Path(above, name).relative_to(folder.path)) for above, _, names in os.walk(folder.path) for name in names
    }
    assert there == {*folder.used, *folder.rejected, *folder.ignored}
    for name in folder.ignored:
        assert "/." in f"/{name}" or not name.endswith(folders.PICTURE_ENDINGS)


def test_what_is_used_is_read_rightly(folder, scanned):
    manifest = scanned[0].assign(name=below(folder, scanned[0].path)).set_index("name")
    wrong = {}
    for name, (expected, tolerance) in folder.used.items():
        pixels = imaging.load_image(folder.path / name)
        row = manifest.loc[name]
        if not pixels.shape == expected.shape == (row.height, row.width, 3):
            wrong[name] = pixels.shape
        elif np.abs(pixels.astype(int) - expected).mean() > tolerance:
            wrong[name] = np.abs(pixels.astype(int) - expected).mean()
    assert wrong == {}


def test_ids_are_unique_and_lead_to_the_file(folder, scanned):
    manifest = scanned[0]
    assert manifest.image_id.is_unique
    for image_id, name in zip(manifest.image_id, below(folder, manifest.path)):
        assert name == image_id or re.fullmatch(re.escape(image_id) + r"\.[^./]+", name)
    ids = set(manifest.image_id)
    assert {"stems/one/same", "stems/other/same", "stems/two.png", "stems/two.bmp", "stems/two.png.bmp"} <= ids
    assert {"e\u0301", "\u00e9", "new\nline", "-rf", "007", "NA"} <= ids


def test_the_scan_says_nothing_but_its_own_lines(scanned):
    lines = scanned[2].splitlines()
    assert lines and all(
        re.match(r"[\d:]{8} (scan_images.py|input|output|settings|\d+ pictures|done in)", line) for line in lines
    )


def test_no_picture_takes_more_than_a_gigabyte(folder, scanned, tmp_path):
    """Peak resident size of the scan's process, less that of a scan of one small picture; one thread."""
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "a.png").write_bytes(hostile.encode(hostile.mosaic("a"), "PNG"))
    baseline = peak_memory(scan(tmp_path / "small", tmp_path / "baseline")[2])
    assert peak_memory(scanned[2]) - baseline < GIGABYTE
    # The largest that is still read: a hundred million pixels in 100 kB.
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "bomb.png").write_bytes(hostile.png(10_000, 10_000, hostile.zeros(300_010_000)))
    manifest, _, said = scan(tmp_path / "edge", tmp_path / "largest")
    assert manifest.width.tolist() == [10_000]
    assert 500 < peak_memory(said) - baseline < GIGABYTE  # 700 MB of pixels: the measure sees them


SETTINGS = """
images: {shards: {training: 1, references: 1, queries: 1}}
families: [pretrained_CC]
backbones: [tiny]
tiles: {families: [], scales: []}
second_submission: {families: []}
scales: [32]
parts: {selective_search: {min_size: 1000}}  # the small squares of a mosaic are many regions
matching: {weight: 0, pairs_per_query: 40}
verification: {fusion: shipped}
ensembling: {vote: 1, tile_vote: 1, rows_per_query: 20}
evaluation: {untrained_families: [], bootstrap_samples: 20}
backbone_table:
  tiny: {network: resnet10_tiny, weights: {source: none}}
"""


def same_picture(folder, first, second):
    return first == second or np.array_equal(folder.used[first][0], folder.used[second][0])


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """The whole workflow with the folder as references and as queries."""
    place = tmp_path_factory.mktemp("run")
    (place / "training").mkdir()
    for number in range(30):
        data = hostile.encode(hostile.mosaic(f"training {number}"), "PNG")
        (place / "training" / f"{number}.png").write_bytes(data)
    alike = [(first, second) for first in folder.used for second in folder.used if same_picture(folder, first, second)]
    listing = manifests.list_pictures(folder.path)[0]
    ids = dict(zip(below(folder, listing.path), listing.image_id))
    truth = [(ids[first], ids[second]) for first, second in alike]
    pd.DataFrame(truth, columns=["query_id", "reference_id"]).to_csv(place / "truth.csv", index=False)
    config = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    config["images"] |= {"training": str(place / "training"), "ground_truth": str(place / "truth.csv")}
    config["images"] |= {role: str(folder.path) for role in ("references", "queries")}
    (place / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (place / "settings.yaml").write_text(SETTINGS)
    run = snakemake(place, "--cores", "2", overlays=(MICRO, place / "settings.yaml"))
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    return place / "results"


def ids_of(folder, finished, role="references"):
    """The picture ids by their file."""
    manifest = pd.read_parquet(finished / "images" / f"{role}.parquet")
    return dict(zip(below(folder, manifest.path), manifest.image_id))


def test_the_workflow_rejects_the_same_files_for_both_roles(folder, finished, scanned):
    rejected = manifests.read_rejected(finished / "images" / "rejected.csv")
    expected = scanned[1][["path", "reason"]].sort_values("path").to_numpy().tolist()
    for role in ("references", "queries"):
        rows = rejected[rejected.role == role]
        assert rows[["path", "reason"]].sort_values("path").to_numpy().tolist() == expected
    assert not (rejected.role == "training").any()
    assert set(ids_of(folder, finished)) == set(folder.used)


def test_the_workflow_finds_each_picture_in_itself(folder, finished):
    """Read by Python's own reader, as a stranger's program does."""
    with (finished / "matching.csv").open(newline="", encoding="utf-8") as file:
        matches = [(row["query_id"], row["reference_id"], float(row["score"])) for row in csv.DictReader(file)]
    ids = ids_of(folder, finished)
    assert {query for query, _, _ in matches} | {reference for _, reference, _ in matches} <= set(ids.values())
    assert len({(query, reference) for query, reference, _ in matches}) == len(matches)
    found = {query for query, reference, _ in matches if query == reference}
    # A picture of one pixel's height is below family_table.*.minimum_side, and so is each part of it.
    thin = {name for name in folder.used if "20000" in name}
    assert {name for name, image_id in ids.items() if image_id not in found} == thin


def test_the_evaluation_knows_the_ids(folder, finished):
    """With one of them lost or changed on the way, a copy would count as missed."""
    with (finished / "images" / "ground_truth.csv").open(newline="", encoding="utf-8") as file:
        truth = list(csv.DictReader(file))
    assert {row["query_id"] for row in truth} == set(ids_of(folder, finished, "queries").values())
    rows = json.loads((finished / "evaluation" / "matching.json").read_text())["rows"]
    assert rows[0]["micro_ap"] > 0.9


def test_turned_copies_have_one_descriptor(folder, finished):
    """Pixels are equal where the format loses nothing, and so is what the network makes of them."""
    scenes = [name for name in folder.used if name.startswith("orientations/") and not name.endswith("jpeg")]
    ids = ids_of(folder, finished)
    (path,) = (finished / "descriptors" / "pretrained_CC" / "references").glob("*.h5")
    rows = read_rows([str(path)])
    vectors = read_vectors(str(path), "pretrained_CC.tiny", 32)[rows.image_id.isin([ids[name] for name in scenes])]
    assert len(vectors) == len(scenes) == 24
    assert np.abs(vectors - vectors[0]).max() < 1e-6


def merge(scanned, folder, on_bad_image):
    """Merge one role's tables as the workflow does: the finished process."""
    manifest, rejected, _ = scanned
    folder.mkdir()
    manifests.write_table(manifest, folder / "scan.parquet")
    manifests.write_rejected(rejected, "queries", folder / "scan.csv")
    manifests.write_rejected(rejected[:0], "queries", folder / "listing.csv")
    command = [sys.executable, SCRIPTS / "merge_manifests.py", "--manifests", "scan.parquet"]
    command += ["--rejected", "listing.csv", "scan.csv", "--on-bad-image", on_bad_image]
    command += ["--manifest", "manifest.parquet", "--rejected-out", "rejected.csv"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_on_request_bad_pictures_stop_the_run_after_all_were_listed(folder, scanned, tmp_path):
    run = merge(scanned, tmp_path / "fail", "fail")
    assert run.returncode == 2
    first = scanned[1].iloc[0]
    bad, good = len(folder.rejected), len(folder.used)
    assert run.stderr.endswith(
        f"error: {bad} of {bad + good} pictures for queries cannot be used, and images.on_bad_image is fail; the first "
        f"is {first.path}: {first.reason}; all are listed above and in scan.csv\n"
    )
    assert all(f"{path}: {reason}\n" in run.stderr for path, reason in zip(scanned[1].path, scanned[1].reason))
    assert not (tmp_path / "fail" / "manifest.parquet").exists()
    assert len(manifests.read_rejected(tmp_path / "fail" / "scan.csv")) == bad


def test_otherwise_they_are_left_out_and_without_any_nothing_fails(folder, scanned, tmp_path):
    manifest, rejected, said = scanned
    assert merge(scanned, tmp_path / "reject", "reject").returncode == 0
    assert len(pd.read_parquet(tmp_path / "reject" / "manifest.parquet")) == len(folder.used)
    assert merge((manifest, rejected[:0], said), tmp_path / "sound", "fail").returncode == 0


def test_a_run_that_a_bad_picture_stops_leaves_the_list_of_all(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "good.png").write_bytes(hostile.encode(hostile.mosaic("good"), "PNG"))
    (pictures / "bad.png").write_bytes(b"")
    training = tmp_path / "training"
    training.mkdir()
    for number in range(40):  # what the micro configuration asks for
        (training / f"{number}.png").write_bytes(hostile.encode(hostile.mosaic(str(number)), "PNG"))
    config = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    config["images"] |= {"training": str(training), "references": str(pictures), "queries": str(pictures)}
    config["images"] |= {"on_bad_image": "fail"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (tmp_path / "settings.yaml").write_text("second_submission: {families: []}")
    overlays = (MICRO, tmp_path / "settings.yaml")
    run = snakemake(tmp_path, "--cores", "1", "results/images/queries.parquet", overlays=overlays)
    assert run.returncode != 0
    kept = "results/images/shards/queries/0-of-2.rejected.csv"
    sentence = (
        f"error: 1 of 2 pictures for queries cannot be used, and images.on_bad_image is fail; the first is "
        f"{pictures / 'bad.png'}: the file is empty; all are listed above and in {kept}"
    )
    assert sentence in (tmp_path / "results" / "logs" / "merge_manifests" / "queries.log").read_text()
    assert sentence in run.stdout + run.stderr
    assert manifests.read_rejected(tmp_path / kept).reason.tolist() == ["the file is empty"]
    assert not (tmp_path / "results" / "images" / "queries.parquet").exists()
