"""The bill: its jobs are Snakemake's, its work is that of the D²LV sheet, and its hours are work over rate."""

import copy
import json
import runpy
from dataclasses import replace

import pandas as pd
import pytest
import torch
import yaml
from running import MICRO, REPOSITORY, planned, snakemake
from snakemake.utils import update_config

from copytrace import bill, bill_tables, measuring, rates
from copytrace.bill import Cost, Pictures, Rate, Work
from copytrace.errors import InputError
from copytrace.networks.costs import backbone_cost, detector_cost

PAPER = REPOSITORY / "profiles" / "paper.yaml"
PHOTOS = REPOSITORY / "profiles" / "photos.yaml"
SCHEMA = REPOSITORY / "schemas" / "rates.schema.yaml"
OWN = {"training": "training.txt", "references": "references.txt", "queries": "queries.txt"}
IMAGENET = 1_281_167
SHEET = Pictures(
    {"training": 1_000_000, "references": 1_000_000, "queries": 50_000, "pretraining": IMAGENET, "pairs": 9_982},
    megapixels=0.79, found_parts=20, pair_classes=4_991,
)  # fmt: skip
ANY = Cost(multiply_adds=10**9, parameters=10**6, width=2048, peak=10**6, saved=10**7)


def configuration(*overlays, **changes):
    config = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    for overlay in overlays:
        update_config(config, yaml.safe_load(overlay.read_text()))
    update_config(config, copy.deepcopy(changes))
    return config


def jobs(config, pictures, *plans):
    """Jobs per rule."""
    counted = {}
    for work in [
        work for plan in plans for work in plan(config, pictures, lambda *network: ANY, lambda *detector: ANY)
    ]:
        counted[work.rule] = counted.get(work.rule, 0) + work.jobs
    return counted


OWN_PICTURES = {"images": OWN}
WITH_TRUTH = {"images": {**OWN, "backgrounds": "queries.txt", "ground_truth": "truth.csv"}}
OWN_PAPER = {"images": {**OWN, "training_pairs": "pairs.csv", "pretraining": "training.txt"}}
PLANS = {
    "sample": ([], {}),
    "micro": ([MICRO], {}),
    "photos": ([PHOTOS], OWN_PICTURES),
    "photos with a truth": ([PHOTOS], WITH_TRUTH),
    "paper": ([PAPER], {"images": {**WITH_TRUTH["images"], **OWN_PAPER["images"]}}),
    "trained on own pictures": ([], OWN_PICTURES),
    "no tiles, one unit a model": ([MICRO], {"tiles": {"families": []}, "descriptors": {"unit": "model"}}),
    "a pretrained network of timm": (
        [MICRO],
        {
            "training": {"steps": 0},
            "backbones": ["mobilenetv3", "tiny", "tiny_12"],
            "second_submission": {"families": []},
            "parts": {"kinds": ["whole", "selective_search"]},
        },
    ),
}


BOTH = {"all": bill.plan, "descriptor_track": bill.plan_track}


@pytest.mark.parametrize("name, targets", [("micro", ["all"]), *((name, list(BOTH)) for name in PLANS)])
def test_the_jobs_are_those_of_snakemake(tmp_path, name, targets):
    overlays, changes = PLANS[name]
    for path in OWN.values():
        (tmp_path / path).write_text("a.jpg\nb.jpg\n")
    (tmp_path / "truth.csv").write_text("query_id,reference_id\na,\n")
    (tmp_path / "pairs.csv").write_text("query,reference\nc.jpg,d.jpg\n")
    (tmp_path / "changes.yaml").write_text(json.dumps(changes))
    dry = planned(snakemake(tmp_path, *targets, "-n", overlays=[*overlays, tmp_path / "changes.yaml"]))
    for target in targets:
        del dry[target]
    config = configuration(*overlays, **changes)
    count = {role: config["sample"].get(role, 2) for role in config["images"]["shards"]}
    assert jobs(config, Pictures(count, megapixels=0.05, found_parts=3), *map(BOTH.get, targets)) == dry


# ------------------------------------------------------------------------------------- the sheet's totals (1.3, 4.3)


@pytest.fixture(scope="module")
def paper():
    """The work of the paper by rule and what it is done for."""
    work = bill.plan(configuration(PAPER, **OWN_PAPER), SHEET, lambda *network: ANY, lambda *detector: ANY)
    return {(item.rule, item.what): item for item in work}


def test_forward_passes_at_test(paper):
    described = [paper["describe", role].count for role in ("training", "references", "queries")]
    one = 1_000_000 + 1_000_000 + 29 * 50_000
    assert sum(described) == 33 * 3 * one + 3 * one  # of the models trained on pairs at one scale
    assert 33 * 3 * one == pytest.approx(342e6, rel=0.005)
    # the sheet describes queries, training pictures and references again for the tiles: 3 × 1.05 M passes
    assert paper["describe", "tiles"].count == 3 * 19_000_000 == pytest.approx(60e6, rel=0.06)


def test_descriptors_on_disk(paper):
    """In float32, as published; `paper.yaml` keeps float16."""
    stored = 2 * sum(paper["describe", role].stored for role in ("training", "references", "queries"))
    assert stored * 33 / 34 == pytest.approx(2.05e12, rel=0.005)
    assert 2 * paper["describe", "tiles"].stored == pytest.approx(342e9, rel=0.005)


def test_pictures_of_the_trainings(paper):
    trained = [paper["train_model", backbone] for backbone in ("resnet50", "resnet152", "resnet50_ibn_a")]
    assert sum(item.jobs for item in trained) == 33
    assert sum(item.count for item in trained) == 33 * 25_600_000
    of_pairs = [paper["train_model", f"{name} of pairs"] for name in ("resnet50", "resnet152", "resnet50_ibn_a")]
    assert [(item.jobs, item.count) for item in of_pairs] == [(1, 2_560_000)] * 3
    assert paper["synthesise", ""].count == 11 * 2_000_000


def test_weights_and_classifier(paper):
    """8192 × 100,000 in fp32 are 3.05 GiB; Adam holds them, their gradient and two moments."""
    classifier = 8192 * 100_000 * 4
    assert classifier / 2**30 == pytest.approx(3.05, rel=0.001)
    held = paper["train_model", "resnet50"].memory
    head = 4 * 4 * (2048 * 4096 + 4096 * 8192)
    assert held == 4 * classifier + head + 4 * 4 * ANY.parameters + 128 * ANY.saved


def test_the_descriptor_track():
    """One model with two classifiers; 4 × 2.05 M forward passes, 1.02 GB per million vectors (BoT sheet, 1.2, 4.3)."""
    work = bill.plan_track(configuration(PAPER, **OWN_PAPER), SHEET, lambda *network: ANY, lambda *detector: ANY)
    track = {(item.rule, item.what): item for item in work}
    assert {item.stage for item in work} == {"descriptor track"}
    described = [track["describe", role] for role in ("training", "references", "queries")]
    assert sum(item.count for item in described) == 4 * 2_050_000
    assert described[0].stored == 4 * 1_000_000 * 256 * 2
    assert set(described[0].tasks) == {"forward.resnet50"}  # nothing is whitened
    training = track["train_model", "track_CC.resnet50"]
    assert training.count == 25_600_000
    heads = 2048 * 4096 + 4096 * 8192 + 8192 * 256
    classifiers = 100_000 * (8192 + 256)
    assert classifiers * 4 / 2**30 == pytest.approx(3.15, rel=0.002)
    assert training.memory == 16 * (ANY.parameters + heads + classifiers) + 128 * ANY.saved
    assert training.tasks["train.resnet50"] == 25_600_000 * 3 * (ANY.multiply_adds + heads + classifiers)
    assert track["stretch_descriptors", ""].tasks["search"] == 50_000 * 1_000_000 * 256


def test_matching_holds_the_queries_once_and_references_by_blocks(paper):
    """Float32 vectors of 1500 dimensions: the queries, in normalising a fifth of them, and two blocks."""
    for rule, queries, pairs in (
        ("normalise_queries", 290_000, 0),
        ("match_parts", 1_450_000, 1_000_000),
        ("match_tiles", 50_000, 1_000_000),
    ):
        vectors = queries + 2 * 65_536
        assert paper[rule, ""].memory == 4 * 1500 * vectors + 150 * pairs + 60 * 1_450_000
    assert paper["merge_tile_pairs", ""].memory == 150 * 1_000_000 + 60 * (1_450_000 + 19_000_000)


def test_similarities(paper):
    # query parts against background and references, per model and scale; 1500 multiply-adds each
    for rule in ("normalise_queries", "match_parts"):
        assert paper[rule, ""].tasks["search"] == (99 + 3) * 1_450_000 * 1_000_000 * 1500
    assert paper["match_tiles", ""].tasks["search"] == 3 * 50_000 * 19_000_000 * 1500
    assert paper["vote_backbones", ""].count == 33 * 3 * 1_000_000
    assert paper["vote_backbones", "of pairs"].count == 3 * 1_000_000


def test_pretrainings_are_passes_over_imagenet(paper):
    """300 of them, the last batch of each left out; two views of a picture."""
    for backbone, batch in (("resnet152", 512), ("resnet50_ibn_a", 1024)):
        assert paper["pretrain_backbone", backbone].count == 2 * 300 * (IMAGENET // batch * batch)
    assert paper["prepare_backbone", "resnet50"].jobs == 1  # downloaded


def test_a_teacher_is_a_forward_pass_more_than_its_student(paper):
    """Both see both views; the student has a predictor, gradients and the momentum of SGD, too."""
    projector, predictor = 2048 * 4096 + 4096 * 256, 256 * 4096 + 4096 * 256
    per_view = 4 * (ANY.multiply_adds + projector) + 3 * predictor
    work = paper["pretrain_backbone", "resnet152"]
    assert work.tasks["momentum_teacher.resnet152"] == work.count * per_view
    student = 3 * 4 * (ANY.parameters + projector + predictor)
    assert work.memory == student + 4 * (ANY.parameters + projector) + 1024 * ANY.saved


def test_work_of_the_detector(paper):
    assert paper["train_detector", ""].count == 50 * 20_000
    assert paper["train_detector", ""].tasks["train_detector.resnet50"] == 1_000_000 * 3 * ANY.multiply_adds
    looked = paper["detect_overlays", ""]
    assert (looked.jobs, looked.count) == (50, 50_000)
    # 63 batches of 16 for each shard of 1,000 queries
    assert looked.tasks["detect.resnet50"] == 50 * 63 * 16 * ANY.multiply_adds
    assert looked.loading["canvas"] == pytest.approx(50_000 * 0.64**2)


def test_work_of_trees_of_the_runs_own():
    """That of its trial queries, whatever the numbers of queries and references."""
    config = configuration(PHOTOS, images=OWN, verification={"fusion": "fitted", "fitting": {"shards": 3}})
    work = bill.plan(config, SHEET, lambda *network: ANY, lambda *detector: ANY)
    fitting = {(item.rule, item.what): item for item in work}
    assert [fitting["extract_features", role].count for role in ("training", "originals", "pool")] == [300, 600, 700]
    made = fitting["extract_trials", ""]
    assert (made.jobs, made.count) == (3, 400 + 300 + 400)
    assert made.tasks["decode"] == pytest.approx(0.79 * (2 * (400 + 300) + 400))
    assert fitting["index_references", "originals"].stored == 600 * 200 * 136
    # two orientations of 400 keypoints, 8 of 512 lists
    assert fitting["plan_trials", ""].tasks["neighbours"] == 2 * 700 * 400 * 600 * 200 * 8 / 512
    pairs = fitting["measure_pairs", "trials"]
    assert (pairs.jobs, pairs.tasks["verify"]) == (3, 1100 * 5)
    assert fitting["measure_pairs", "queries"].tasks["verify"] == 50_000 * 10


def test_multiply_adds_of_a_training(paper):
    per_picture = ANY.multiply_adds + 2048 * 4096 + 4096 * 8192 + 8192 * 100_000
    assert paper["train_model", "resnet152"].tasks["train.resnet152"] == 11 * 25_600_000 * 3 * per_picture


def test_unchanged_families_need_no_copies_of_their_own():
    config = configuration(MICRO)
    pictures = Pictures({"training": 40, "references": 40, "queries": 24, "pairs": 16}, 0.0, 3.0, copy_bytes=2e6)
    work = {item.rule: item for item in bill.plan(config, pictures, lambda *network: ANY, lambda *detector: ANY)}
    assert work["synthesise"].count == 2 * 10 * 4  # families, every fourth of 40 pictures, itself and three copies
    assert work["synthesise"].stored == pytest.approx(2e6 * 80 * 32 * 32 / 1e6)


# --------------------------------------------------------------------------------------------------- networks' costs


def bottleneck_multiply_adds(blocks, side):
    """Of a ResNet with bottlenecks whose last stage has stride 1, layer by layer."""
    side //= 2
    total, width_in, side = side * side * 64 * 3 * 49, 64, side // 2
    for stage, count in enumerate(blocks):
        width = 64 * 2**stage
        for block in range(count):
            stride = 2 if block == 0 and stage in (1, 2) else 1
            out = side // stride
            total += side * side * width_in * width  # 1 × 1
            total += out * out * width * width * 9  # 3 × 3, which has the stride
            total += out * out * width * 4 * width  # 1 × 1
            total += out * out * width_in * 4 * width if block == 0 else 0  # shortcut
            width_in, side = 4 * width, out
    return total


@pytest.mark.parametrize(
    ("network", "blocks", "parameters"),
    [  # torchvision's numbers of parameters less those of the classifier, 2048 × 1000 + 1000
        ("resnet50", (3, 4, 6, 3), 25_557_032 - 2_049_000),
        ("resnet152", (3, 8, 36, 3), 60_192_808 - 2_049_000),
    ],
)
def test_costs_of_the_published_networks(network, blocks, parameters):
    cost = backbone_cost(network, 256)
    assert cost.parameters == parameters
    assert cost.multiply_adds == bottleneck_multiply_adds(blocks, 256)
    assert cost.width == 2048


def test_costs_grow_with_the_picture():
    small, large = backbone_cost("resnet10_half", 64), backbone_cost("resnet10_half", 128)
    assert large.multiply_adds == 4 * small.multiply_adds
    assert large.peak == 4 * small.peak
    assert large.parameters == small.parameters


def convolutions(layers, side):
    """Multiply-adds of layers (kernel, channels in, channels out) on a map of side × side."""
    return sum(side**2 * kernel**2 * before * after for kernel, before, after in layers)


def test_costs_of_the_detector():
    """The backbone, lateral and smoothing convolutions, two halvings more, and the head's two towers on all maps."""
    network, width = backbone_cost("resnet50", 128).multiply_adds, 64
    smooth = [(3, width, width)]
    pyramid = convolutions([(1, 512, width), *smooth], 16) + convolutions([(1, 2048, width), *smooth], 8)
    pyramid += convolutions(smooth, 4) + convolutions(smooth, 2)
    head = 2 * 4 * smooth + [(3, width, 2), (3, width, 4), (3, width, 1)]
    heads = sum(convolutions(head, side) for side in (16, 8, 4, 2))
    assert detector_cost("resnet50", width, 128).multiply_adds == network + pyramid + heads


def test_saved_activations_are_those_that_torch_keeps():
    """Against the bytes of a real forward pass of two pictures."""
    from copytrace.networks.registry import create_backbone

    kept = {}
    backbone = create_backbone("resnet10_tiny")
    weights = {parameter.data_ptr() for parameter in backbone.parameters()}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        backbone.features(torch.zeros(2, 3, 64, 64))
    size = sum(tensor.nbytes for pointer, tensor in kept.items() if pointer not in weights)
    assert 2 * backbone_cost("resnet10_tiny", 64).saved == pytest.approx(size, rel=0.05)


# ------------------------------------------------------------------------------------------------------------- prices


def rate(value, processor="cpu", **settings):
    return Rate(value, "units", f"some {processor}", processor, "a test", "2026-01-01", settings)


WORK = Work(
    "descriptors", "describe", "describe.py", 10, 1.0, "passes",
    tasks={"forward.net": 7200.0}, loading={"decode": 36_000.0}, memory=5e9,
)  # fmt: skip
STARTS = {"describe.py": (36.0, 1e9)}


def test_hours_on_a_processor():
    entry = bill.priced(WORK, {"forward.net": rate(2.0), "decode": rate(10.0)}, STARTS, workers=0)
    assert entry.cpu_hours == pytest.approx(0.1 + 1 + 1)  # starts, forward passes, decoding
    assert entry.gpu_hours is None  # a GPU would do it, and its rate is not known
    assert entry.memory == 6e9
    assert entry.missing == ()


@pytest.mark.parametrize(("workers", "gpu_hours"), [(0, 0.1 + 1 + 1), (1, 1.1), (4, 1.1)])
def test_hours_on_a_gpu(workers, gpu_hours):
    known = {"forward.net": rate(2.0, "gpu"), "decode": rate(10.0)}
    entry = bill.priced(WORK, known, STARTS, workers)
    assert entry.gpu_hours == pytest.approx(gpu_hours)
    assert entry.cpu_hours == pytest.approx(0.1 + 1)


def test_a_gpu_waits_for_slow_loading():
    known = {"forward.net": rate(2.0, "gpu"), "decode": rate(1.0)}
    assert bill.priced(WORK, known, STARTS, workers=2).gpu_hours == pytest.approx(5)


@pytest.mark.parametrize(
    ("known", "starts", "missing"),
    [
        ({"decode": rate(1.0)}, STARTS, ("forward.net",)),
        ({}, STARTS, ("forward.net", "decode")),
        ({"forward.net": rate(1.0, "gpu"), "decode": rate(1.0)}, {}, ("start of describe.py",)),
    ],
)
def test_what_was_not_measured_has_no_hours(known, starts, missing):
    entry = bill.priced(WORK, known, starts, workers=0)
    assert (entry.cpu_hours, entry.gpu_hours, entry.missing) == (None, None, missing)


def test_work_without_networks_holds_no_gpu():
    entry = bill.priced(replace(WORK, tasks={}), {"decode": rate(10.0)}, STARTS, workers=0)
    assert entry.gpu_hours == 0


def test_sums_say_what_they_leave_out():
    known = bill.priced(WORK, {"forward.net": rate(2.0, "gpu"), "decode": rate(10.0)}, STARTS, 0)
    unknown = bill.priced(WORK, {}, STARTS, 0)
    table = bill_tables.by_rule([known, unknown])
    stage, everything = bill_tables.by_stage(table).to_dict("records")
    assert stage["jobs"] == everything["jobs"] == 20
    assert everything["cpu_hours"] == pytest.approx(1.1)
    assert not everything["cpu_known"]
    page = bill_tables.markdown(table, table.iloc[:1], {}, SHEET, 1_450_000)
    assert "| all | 20 | 2.1 + what is not measured | 1.1 + what is not measured | – | 6 GB |" in page
    assert page.endswith("Not measured: decode, forward.net.\n")


# -------------------------------------------------------------------------------------------------------- rates files


def test_rates_come_back_from_their_file(tmp_path):
    written = rates.RatesFile({"decode": rate(1.5), "render": rate(2.0, side=96)}, STARTS, {"megapixels": 0.05})
    rates.write_rates(tmp_path / "rates.yaml", written)
    assert rates.read_rates(tmp_path / "rates.yaml", SCHEMA) == written


def test_a_rate_holds_for_its_settings_only():
    measured = rates.RatesFile({"decode": rate(1.5), "render": rate(2.0, side=96)}, STARTS, {})
    config = configuration()
    assert set(measured.holding_for(config)) == {"decode", "render"}
    config["synthesis"]["side"] = 128
    assert set(measured.holding_for(config)) == {"decode"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rates: [", "cannot be read"),
        ("- decode", "is not a mapping with the keys rates, starts and pictures"),
        ("{rates: {}, starts: {}}", "pictures"),
        ("{rates: {}, starts: {}, pictures: {megapixel: 1}}", "megapixel"),
        ("{rates: {decode: {value: 0}}, starts: {}, pictures: {}}", "rates.decode"),
    ],
)
def test_a_bad_rates_file_is_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "rates.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="the rates file") as mistake:
        rates.read_rates(path, SCHEMA)
    assert sentence in str(mistake.value)
    assert "\n" not in str(mistake.value)


# --------------------------------------------------------------------------------------------------------- the target


def test_the_bill_measures_first(tmp_path):
    assert planned(snakemake(tmp_path, "bill", "-n")) == {"measure_rates": 1, "write_bill": 1, "bill": 1}


def test_a_start_is_what_a_process_takes():
    seconds, held = measuring.start(REPOSITORY / "workflow_scripts" / "merge_tables.py")
    assert 0.02 < seconds < 60
    assert 1e7 < held < 1e9  # an interpreter with pandas


@pytest.fixture(scope="module")
def billed(tmp_path_factory):
    """The bill of the micro workflow with rates measured here, but briefly, and one start for all scripts."""
    folder = tmp_path_factory.mktemp("billed")
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "SECONDS", 0.02)
        patch.setattr(measuring, "start", lambda script: (1.5, 2e8))
        measured = measuring.measure(configuration(MICRO), REPOSITORY / "workflow_scripts", threads=1)
    torch.set_num_threads(threads)
    rates.write_rates(folder / "rates.yaml", measured)
    (folder / "briefly.yaml").write_text(json.dumps({"bill": {"rates": str(folder / "rates.yaml")}}))
    run = snakemake(folder, "bill", "--cores", "1", overlays=[MICRO, folder / "briefly.yaml"])
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    return folder, run.stdout


def test_the_bill_is_printed_and_complete(billed):
    folder, printed = billed
    page = (folder / "results" / "bill" / "bill.md").read_text()
    assert page in printed
    table = pd.read_csv(folder / "results" / "bill" / "bill.csv")
    assert table["amount"].gt(0).all()
    assert table["cpu_hours"].gt(0).all()  # every rate that this configuration needs was measured
    assert table["not_measured"].isna().all()
    assert (folder / "results" / "bill" / "bill.png").stat().st_size > 10_000
    assert not (folder / "results" / "images").exists()  # before anything else ran


def test_other_rates_and_lists_of_own_pictures(billed, tmp_path):
    """The rates of one configuration price another where they hold, and the pictures need not be there."""
    folder, _ = billed
    for role, name in OWN.items():
        (tmp_path / name).write_text("".join(f"/nowhere/{role}/{number}.jpg\n" for number in range(3000)))
    (tmp_path / "pairs.csv").write_text("query,reference\na.jpg,b.jpg\nc.jpg,b.jpg\nd.jpg,e.jpg\n")
    settings = {**OWN_PAPER, "bill": {"rates": str(folder / "rates.yaml"), "megapixels": 0.79}}
    (tmp_path / "own.yaml").write_text(json.dumps(settings))
    run = snakemake(tmp_path, "bill", "--cores", "1", overlays=[PAPER, tmp_path / "own.yaml"])
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    table = pd.read_csv(tmp_path / "results" / "paper" / "bill" / "bill.csv").set_index("rule")
    assert table["amount"]["scan_images"].tolist() == [3000, 3000, 3000, 3000, 5]  # the last of pairs
    assert table.loc["scan_images", "cpu_hours"].gt(0).all()
    trained = table.loc["train_model"]
    assert trained["cpu_hours"].isna().all()
    assert "train.resnet152" in trained["not_measured"].str.cat()


def test_pictures_that_cannot_be_read_need_a_size(tmp_path):
    for name in OWN.values():
        (tmp_path / name).write_text("/nowhere/a.jpg\n")
    (tmp_path / "own.yaml").write_text(json.dumps({"images": OWN, "second_submission": {"families": []}}))
    run = snakemake(tmp_path, "bill", "--cores", "1", overlays=[MICRO, tmp_path / "own.yaml"])
    assert run.returncode != 0
    assert "name their mean size in bill.megapixels" in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr


@pytest.mark.parametrize(("billed", "status"), [(100, 0), (60, 1), (200, 1)])
def test_the_benchmark_reckons_processor_time(tmp_path, monkeypatch, capsys, billed, status):
    """Of jobs on half a processor that were looked at to the end, 15.5 s long, 45.5 s long, or never."""
    for name, seconds, processor in (("a", 10, 5), ("b", 40, 15.5 / 2), ("c", 120, 105.5 / 2), ("d", 15, "NA")):
        path = tmp_path / "benchmarks" / "describe" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\tcpu_time\n{seconds:.4f}\t{processor}\n")
    (tmp_path / "benchmarks" / "write_bill.tsv").write_text("s\tcpu_time\n1000\t1000\n")  # of no stage
    (tmp_path / "bill").mkdir()
    (tmp_path / "bill" / "bill.csv").write_text(f"stage,rule,cpu_hours\ndescriptors,describe,{billed / 3600}\n")
    monkeypatch.setattr("sys.argv", ["bill.py", "--results", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(REPOSITORY / "benchmarks" / "bill.py"), run_name="__main__")
    assert int(end.value.code) == status
    last = capsys.readouterr().out.splitlines()[-1].split()
    assert last == ["all", f"{billed:.2f}", "100.00", "185.00", f"{billed / 100:.2f}"]
