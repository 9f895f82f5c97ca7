"""Mistakes in the configuration, while Snakemake reads it: one sentence each, and nothing has run."""

import copy
import inspect
import subprocess
import sys

import pytest
import yaml
from running import REPOSITORY, snakemake
from snakemake.utils import update_config

from copytrace import configuration, validation
from copytrace.errors import InputError

CONFIG = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
SCHEMA = yaml.safe_load((REPOSITORY / "schemas" / "config.schema.yaml").read_text())


def refused(overlay: str) -> str:
    """The sentence with which config.yaml with this overlay (YAML) is refused."""
    config = copy.deepcopy(CONFIG)
    update_config(config, yaml.safe_load(overlay))
    with pytest.raises(InputError) as mistake:
        validation.check_schema(config, SCHEMA)
        configuration.check(config)
    assert "\n" not in str(mistake.value)
    return str(mistake.value)


@pytest.mark.parametrize(
    "overlay, sentence",
    [
        ("{images: {refrences: x}}", "images.refrences is not a setting; did you mean images.references?"),
        ("{imges: {}}", "imges is not a setting; did you mean images?"),
        ("{neighbours: 4}", "neighbours is not a setting; did you mean matching.neighbours?"),
        ("{training: {neigbours: 4}}", "training.neigbours is not a setting; did you mean matching.neighbours?"),
        ("{faces: {qqq: 4}}", "faces.qqq is not a setting; faces has model, upsample, max_side"),
        ("{images.references: x}", "the key 'images.references' has a dot in it: write images: {references: …}"),
        ("{images: {7: x}}", "images.7 is not a setting; images has training, references"),
        (
            "{family_table: {u_CC: {gray: true}}}",
            "family_table.u_CC.gray is not a setting; did you mean family_table.u_CC.grey?",
        ),
        (
            "{ensembling: {penalties: {rotated: 0.1}}}",
            "ensembling.penalties.rotated is not a setting; did you mean ensembling.penalties.rotation?",
        ),
        (
            "{family_table: {baselin_CC: {grey: true}}}",
            "family_table.baselin_CC lacks faces, blur, query_blur, minimum_side, chain; "
            "did you mean family_table.baseline_CC?",
        ),
    ],
)
def test_unknown_keys(overlay, sentence):
    assert refused(overlay).startswith(sentence)


def test_there_is_a_sentence_for_every_limit_of_the_schema():
    def keywords(schema):
        yield from schema
        if "$ref" in schema:
            yield from keywords(SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")])
        for inner in schema.get("properties", {}).values():
            yield from keywords(inner)
        for key in ("items", "additionalProperties", "propertyNames"):
            if isinstance(schema.get(key), dict):
                yield from keywords(schema[key])

    structure = {"$schema", "$defs", "$ref", "title", "description", "meanings", "properties", "items", "propertyNames"}
    sentences = {"type", "required", "additionalProperties", "enum", "pattern", "minLength", "uniqueItems"}
    sentences |= {"minItems", "maxItems", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    assert set(keywords(SCHEMA)) - structure <= sentences


def test_missing_keys():
    config = copy.deepcopy(CONFIG)
    del config["images"]["shards"]["queries"]
    with pytest.raises(InputError, match=r"^images\.shards\.queries is missing$"):
        validation.check_schema(config, SCHEMA)
    del config["seed"]
    with pytest.raises(InputError, match=r"^seed is missing$"):
        validation.check_schema(config, SCHEMA)


@pytest.mark.parametrize(
    "overlay, sentence",
    [
        ("{training: {steps: many}}", "training.steps must be a whole number, not 'many'"),
        ("{training: {steps: 90.0}}", "training.steps must be a whole number, not 90.0"),
        ("{training: {steps: true}}", "training.steps must be a whole number, not true"),
        (
            "{training: {head_learning_rate: 1e-3}}",
            "training.head_learning_rate must be a number, not the text '1e-3': numbers have no quotes and exponents",
        ),
        ("{training: {head_learning_rate: .nan}}", "training.head_learning_rate must be a number, not nan"),
        ("{training: {waveblock: 'on'}}", "training.waveblock must be true or false, not 'on'"),
        ("{training: 4}", "training must be a section with keys of its own, not 4"),
        ("{training: null}", "training must be a section with keys of its own, not null, that is empty"),
        ("{scales: 128}", "scales must be a list, not 128"),
        ("{images: {queries: [a]}}", "images.queries must be text or null, not the list ['a']"),
        ("{seed: [0]}", "seed must be a whole number, not the list [0]"),
    ],
)
def test_wrong_types(overlay, sentence):
    assert refused(overlay).startswith(sentence)


@pytest.mark.parametrize(
    "overlay, sentence",
    [
        ("{training: {epochs: 0}}", "training.epochs is 0, but must be at least 1"),
        ("{whitening: {power: 1}}", "whitening.power is 1, but must be at most 0"),
        ("{whitening: {seed: 4294967296}}", "whitening.seed is 4294967296, but must be at most 4294967295"),
        ("{descriptor_track: {dimensions: 257}}", "descriptor_track.dimensions is 257, but must be at most 256"),
        ("{evaluation: {confidence: 1}}", "evaluation.confidence is 1, but must be less than 1"),
        ("{verification: {decision: 1.5}}", "verification.decision is 1.5, but must be at most 1"),
        ("{training: {head_learning_rate: 0}}", "training.head_learning_rate is 0, but must be more than 0"),
        ("{scales: [16]}", "entry 1 of scales is 16, but must be at least 32"),
        (
            "{synthesis: {chain: {steps: {rotation: {probability: 30}}}}}",
            "synthesis.chain.steps.rotation.probability is 30, but must be at most 1",
        ),
        ("{images: {queries: ''}}", "images.queries is an empty text: name something, or write null"),
        ("{verification: {fusion: ''}}", "verification.fusion is an empty text: name something"),
        ("{verification: {fusion: null}}", "verification.fusion must be text, not null"),
        ("{families: []}", "families must have at least 1 entries, but has 0"),
        (
            "{parts: {selective_search: {aspect: [1]}}}",
            "parts.selective_search.aspect must have 2 entries, but has 1",
        ),
        ("{families: [u_CC, u_CC]}", "families names u_CC twice"),
        ("{families: [u-CC]}", "entry 1 of families is 'u-CC', but may have only the characters A-Za-z0-9_"),
        (
            "{results: ~/found}",
            "results is '~/found', but may have only the characters A-Za-z0-9_./+@=-: write the full path, ~ and ",
        ),
        (
            "{results: $HOME/found}",
            "results is '$HOME/found', but may have only the characters A-Za-z0-9_./+@=-: write",
        ),
        ('{results: "a\\nb"}', "results is 'a\\nb', but may have only the characters"),
        (
            "{backbone_table: {resnet10: {weights: {sha256: abc}}}}",
            "backbone_table.resnet10.weights.sha256 is 'abc', but must match ^[0-9a-f]{64}$",
        ),
        (
            "{descriptors: {kind: embeddings}}",
            "descriptors.kind is 'embeddings', but must be one of feature, embedding; did you mean embedding?",
        ),
        (
            "{parts: {kinds: [whole, rotaton]}}",
            "entry 2 of parts.kinds is 'rotaton', but must be one of whole, rotation, mirror, centre, third, half, "
            "selective_search, detected_overlay; did you mean rotation?",
        ),
        (
            "{pretraining: {barlow_twins: {views: [{resize: {probability: 1}}, {resize: {}}]}}}",
            "resize.probability in entry 2 of pretraining.barlow_twins.views is missing",
        ),
    ],
)
def test_values_out_of_their_limits(overlay, sentence):
    assert refused(overlay).startswith(sentence)


@pytest.mark.parametrize(
    "overlay, sentence",
    [
        (
            "{families: [baseline_C]}",
            "families names baseline_C, which is not in family_table; did you mean baseline_CC?",
        ),
        (
            "{backbones: [vgg]}",
            "backbones names vgg, which is not in backbone_table; known are resnet10, resnet10_ibn_a",
        ),
        ("{evaluation: {untrained_families: [pretraind_CC]}}", "did you mean pretrained_CC?"),
        (
            "{verification: {index: {keypoints: 700}}}",
            "verification.index.keypoints is 700, but verification.features.keypoints is only 600",
        ),
        (
            "{verification: {search: {keypoints: 601}}}",
            "verification.search.keypoints is 601, but verification.features.keypoints is only 600",
        ),
        (
            "{verification: {candidates: [list]}}",
            "verification.candidates names list, but verification.list names no file: name one, or results/",
        ),
        (
            "{verification: {candidates: [list], list: nowhere.csv}}",
            "verification.list names nowhere.csv, which is no file; the descriptor track's is results/",
        ),
        (
            "{verification: {fusion: nowhere.json}}",
            "verification.fusion names nowhere.json, which is neither shipped, nor fitted, nor a file",
        ),
        (
            "{verification: {fitting: {copies: 601}}}",
            "verification.fitting.copies is 601, but verification.fitting.originals is only 600",
        ),
        (
            "{verification: {candidates: [local], fusion: fitted}}",
            "verification.fitting asks for 1600 training pictures (originals, negatives, pool), but beside the 300 of",
        ),
        (
            "{verification: {fitting: {look_alikes: 701}}}",
            "verification.fitting.look_alikes is 701, but verification.fitting.pool is only 700",
        ),
        (
            "{verification: {fusion: $NOT_SET_ANYWHERE/trees.json}}",
            "$NOT_SET_ANYWHERE/trees.json, but the environment variable NOT_SET_ANYWHERE is not set",
        ),
        ("{evaluation: {untrained_families: [u_CC]}}", "names u_CC, whose steps_factor is not 0"),
        ("{tiles: {families: [blur]}, families: [blur_CC]}", "tiles.families names blur, which is not among families"),
        ("{tiles: {scales: [96]}}", "tiles.scales names 96, which is not among scales"),
        ("{tiles: {scales: []}}", "tiles.scales is empty"),
        ("{tiles: {kinds: [grid2, whole]}}", "tiles.kinds must begin with whole"),
        ("{ensembling: {vote: 4}}", "ensembling.vote asks for 4 agreeing backbones, but backbones names 3"),
        ("{ensembling: {tile_vote: 4}}", "ensembling.tile_vote asks for 4 agreeing backbones, but backbones names 3"),
        (
            "{descriptor_track: {family: trak_CC}}",
            "descriptor_track.family is trak_CC, which is not in family_table; did",
        ),
        ("{descriptor_track: {family: u_CC}}", "descriptor_track.family is u_CC, which families names, too"),
        ("{descriptor_track: {family: pretrained_BW}}", "which evaluation.untrained_families names, too"),
        (
            "{descriptor_track: {family: pairs_CC}, second_submission: {families: [pairs_CC]}}",
            "which second_submission.families names, too",
        ),
        (
            "{descriptor_track: {backbone: mobilenetv3}}",
            "descriptor_track.backbone is mobilenetv3, which is not among backbones; known are resnet10",
        ),
        (
            "{descriptor_track: {cross_entropy_weight: 0, distillation_weight: 0}}",
            "are both 0: the second head would learn nothing",
        ),
        (
            "{descriptor_track: {replacement: {confidence: 0.9}}}",
            "replacement.confidence is 0.9, but parts.kinds does not name detected_overlay: there is no detector",
        ),
        ("{family_table: {track_CC: {steps_factor: 0.1}}}", "training.steps is 9 for track_CC"),
        (
            "{family_table: {track_CC: {chain: {set: {onto_backgrund: {enlarge: [1, 2]}}}}}}",
            "onto_backgrund",
        ),
        ("{parts: {selective_search: {aspect: [2, 0.5]}}}", "aspect is [2, 0.5], but should be [narrowest, widest]"),
        ("{parts: {selective_search: {min_region_fraction: 0.95}}}", "is 0.95, more than its max_region_fraction 0.9"),
    ],
)
def test_names_and_votes_that_do_not_go_together(overlay, sentence):
    assert sentence in refused(overlay)


def test_paths_too_long_to_look_at_are_left_to_the_job_that_reads_them():
    config = copy.deepcopy(CONFIG)
    config["images"] |= {role: "x" * 300 for role in configuration.ROLES}
    configuration.check(config)


def test_every_kind_of_part_has_a_penalty():
    config = copy.deepcopy(CONFIG)
    del config["ensembling"]["penalties"]["mirror"]
    with pytest.raises(InputError, match=r"ensembling\.penalties has no penalty for parts of the kind mirror"):
        configuration.check(config)


@pytest.mark.parametrize(
    "slot, sentence",
    [
        (
            "{network: resnet50_ibn}",
            "network: there is no network 'resnet50_ibn' (timm:NAME is one of timm); did you mean resnet50_ibn_a?",
        ),
        ("{network: 'timm:'}", "network: there is no network 'timm:'"),
        ("{weights: {source: timm}}", "weights has source timm, but its network resnet10_half is not one of timm"),
        ("{weights: {source: file}}", "weights has source file, but no path"),
        ("{weights: {source: file, path: x}}", "weights has source file, but no mapping"),
        ("{weights: {source: url, mapping: torchvision}}", "weights has source url, but no url"),
        ("{weights: {source: url, url: 'https://x.org/y.pth'}}", "weights has source url, but no mapping"),
        ("{weights: {url: x.org/y.pth}}", "weights.url is 'x.org/y.pth', but must match ^https?://.+$"),
        ("{weights: {source: file, path: /x/y, mapping: torchvision}}", "weights.path names /x/y, which is not there"),
        (
            "{weights: {source: file, path: $NO_SUCH_VARIABLE, mapping: torchvision}}",
            "weights.path is $NO_SUCH_VARIABLE, but the environment variable NO_SUCH_VARIABLE is not set",
        ),
    ],
)
def test_backbones_that_cannot_be_made(slot, sentence):
    assert refused(f"{{backbone_table: {{resnet10: {slot}}}}}").startswith(f"backbone_table.resnet10.{sentence}")


@pytest.mark.parametrize(
    "overlay, sentence",
    [
        ("{training: {epochs: 91}}", "training.steps is 90, fewer than training.epochs (91)"),
        (
            "{family_table: {u_CC: {steps_factor: 0.1}}}",
            "training.steps is 9 for u_CC (family_table.u_CC.steps_factor: 0.1), fewer than training.epochs (18)",
        ),
        ("{training: {warmup_epochs: 18}}", "training.warmup_epochs is 18, but must be less than training.epochs (18)"),
        ("{training: {flat_epochs: 1}}", "training.flat_epochs is 1, but the cosine can't begin before the end of"),
        ("{training: {cross_entropy_weight: 0, triplet_weight: 0}}", "are both 0: nothing is learned"),
        ("{training: {devices: 0}}", "training.devices is 0, but must be at least 1"),
        (
            "{training: {devices: 3, nodes: 2}}",
            "training.classes_per_batch is 16, which 6 devices (training.devices × training.nodes) can't share evenly",
        ),
        ("{training: {devices: 4, precision: fp16}}", "training.precision is fp16, whose scale of the loss is one"),
        (
            "{training: {waveblock: true}, backbone_table: {resnet12: {network: mobilenet_v2}}}",
            "training.waveblock is true, but backbone resnet12 (mobilenet_v2) has no stages",
        ),
    ],
)
def test_trainings_that_cannot_be(overlay, sentence):
    assert sentence in refused(overlay)


@pytest.mark.parametrize(
    "detection, sentence",
    [
        ("{backbone: resnet13}", "detection.backbone is resnet13, which is not in backbone_table; did you mean"),
        (
            "{backbone: mobilenetv3}",
            "whose network timm:mobilenetv3_large_100 is timm's: choose one",
        ),
        ("{side: 200}", "detection.side is 200, but must be a multiple of 64"),
        ("{channels: 48}", "detection.channels is 48, but must be a multiple of 32"),
        ("{confidence: 1.5}", "detection.confidence is 1.5, but must be at most 1"),
        ("{scenes: {crop: [0.9, 0.3]}}", "detection.scenes.crop is [0.9, 0.3], but should be [lowest, highest]"),
        (
            "{scenes: {emoji: {count: [3, 2]}}}",
            "scenes.emoji.count is [3, 2], but should be [lowest, highest]",
        ),
        (
            "{scenes: {edits: {rotation: {probability: 1, degrees: [0, 5]}}}}",
            "step rotation of detection.scenes.edits: rotation moves what is in the picture or adds to it",
        ),
        (
            "{scenes: {edits: {blur: {probability: 1}}}}",
            "of detection.scenes.edits: there is no operation blur",
        ),
    ],
)
def test_detectors_that_cannot_be(detection, sentence):
    kinds = "kinds: [whole, detected_overlay]"
    assert sentence in refused(f"{{parts: {{{kinds}}}, detection: {detection}}}")


def test_a_detector_stands_on_weights_that_are_there():
    """The row need not be one of `backbones`."""
    slot = "{network: resnet50, weights: {source: file, path: /x/y, mapping: torchvision}}"
    overlay = f"backbone_table: {{big: {slot}}}, detection: {{backbone: big}}"
    wanted = "backbone_table.big.weights.path names /x/y, which is not there"
    assert refused(f"{{{overlay}, parts: {{kinds: [whole, detected_overlay]}}}}").startswith(wanted)


@pytest.mark.parametrize(
    "overlay, sentence",
    [
        ("{family_table: {u_CC: {chain: {remove: [emojis]}}}}", "has no step emojis; did you mean emoji?"),
        ("{synthesis: {chain: {order: [resize, rotatoin]}}}", "names rotatoin, which is not in synthesis.chain.steps;"),
        ("{synthesis: {chain: {order: [resize, emoji, emoji]}}}", "synthesis.chain.order names emoji twice"),
        (
            "{synthesis: {chain: {steps: {rotatoin: {probability: 0}}}}}",
            "synthesis.chain.steps.rotatoin: there is no operation rotatoin; did you mean rotation?",
        ),
        (
            "{synthesis: {chain: {steps: {rotation: {degree: [0, 5]}}}}}",
            "rotation has no parameter degree, it takes degrees; did you mean degrees?",
        ),
        (
            "{synthesis: {chain: {order: [resize, padding]}}}",
            "the chain of family baseline_CC can leave a picture at the size that padding gives it",
        ),
        ("{synthesis: {chain: {order: [emoji]}}}", "can leave a picture at the original size"),
        (
            "{pretraining: {barlow_twins: {views: [{resize: {probability: 1}}, {resize: {probability: 0.5}}]}}}",
            "view 2 of pretraining.barlow_twins.views can leave a picture at the original size",
        ),
        (
            "{pretraining: {momentum_teacher: {views: [{}, {resize: {probability: 1}}]}}}",
            "view 1 of pretraining.momentum_teacher.views can leave a picture at the original size",
        ),
        (
            "{pretraining: {barlow_twins: {views: [{blend_foreign: {probability: 1, weight: [0, 1]}}, {}]}}}",
            "view 1 of pretraining.barlow_twins.views has the step blend_foreign, but there are no foreign pictures",
        ),
    ],
)
def test_chains_that_cannot_be(overlay, sentence):
    assert sentence in refused(overlay)


@pytest.mark.parametrize(
    "overlay, sentence",
    [
        ("{whitening: {dimensions: 300}}", "is 300, but the feature of backbone resnet10 (resnet10_half) has only 256"),
        (
            "{whitening: {dimensions: 513}, descriptors: {kind: embedding}}",
            "whitening.dimensions is 513, but training.embedding is only 512",
        ),
        ("{whitening: {samples: 256}}", "whitening.dimensions is 256 and needs more pictures than that"),
        ("{images: {shards: {validation: 241}}}", "asks for 241 jobs, but evaluation.validation_copies is only 240"),
        # Through the same function as in the first job, here with the sample's numbers: tests/test_inputs.py
        (
            "{images: {shards: {queries: 121}}}",
            "images.shards.queries asks for 121 jobs, but there are only 120 pictures",
        ),
        ("{sample: {training: 256}}", "needs more training pictures than that, but there are only 256"),
    ],
)
def test_more_than_there_is(overlay, sentence):
    assert sentence in refused(overlay)


@pytest.mark.parametrize(
    "overlay, sentence",
    [
        (
            "second_submission: {families: [pair_CC]}",
            "pair_CC, which is not in family_table; did you mean pairs_CC?",
        ),
        (
            "second_submission: {families: [u_CC]}",
            "u_CC, and so does families: a family is trained on pairs or on",
        ),
        ("second_submission: {families: [pretrained_CC]}", "is 0: nothing is learned from pairs"),
        (
            "{families: [u_CC], tiles: {families: []}, second_submission: {families: [face_CC]}}",
            "names face_CC, whose faces is not false: pairs are neither chosen, edited nor filtered",
        ),
        ("second_submission: {families: [pairs_CC], scales: []}", "second_submission.scales is empty"),
        (
            "second_submission: {families: [pairs_CC], vote: 4}",
            "second_submission.vote asks for 4 agreeing backbones, but backbones names 3",
        ),
        (
            "{second_submission: {families: [pairs_CC]}, family_table: {pairs_CC: {steps_factor: 0.1}}}",
            "steps is 9 for pairs_CC (family_table.pairs_CC.steps_factor: 0.1), fewer than training.epochs (18)",
        ),
        (
            "{second_submission: {families: [pairs_CC]}, sample: {pairs: 15}}",
            "training.classes_per_batch is 16, but the pairs to train on have only 30 pictures",
        ),
        (
            "{second_submission: {families: [pairs_CC]}, images: {training: a, references: b, queries: c}}",
            "images.training_pairs is not set, but second_submission.families wants pairs to train on",
        ),
        (
            "images: {training_pairs: a.csv}",
            "images.training_pairs goes with pictures of your own, not with the sample",
        ),
    ],
)
def test_second_submissions_that_cannot_be(overlay, sentence):
    assert sentence in refused(overlay)


def test_an_embedding_may_be_wider_than_the_feature():
    config = copy.deepcopy(CONFIG)
    config["descriptors"]["kind"] = "embedding"
    config["whitening"]["dimensions"] = 300
    config["evaluation"]["untrained_families"] = []
    configuration.check(config)


@pytest.mark.parametrize(
    "images, sentence",
    [
        ("{queries: a}", "images.references is not set: name references and queries, or no pictures at all"),
        ("{queries: a, references: b}", "images.training is not set, but baseline_CC learns from training pictures"),
        ("{ground_truth: a.csv}", "images.ground_truth goes with pictures of your own, not with the sample"),
        ("{pretraining: a}", "images.pretraining goes with pictures of your own, not with the sample"),
        (
            "{training: a, references: b, queries: c, pretraining: $NO_SUCH_VARIABLE/a}",
            "images.pretraining is $NO_SUCH_VARIABLE/a, but the environment variable NO_SUCH_VARIABLE is not set",
        ),
        (
            "{training: $NO_SUCH_VARIABLE/a, references: b, queries: c}",
            "images.training is $NO_SUCH_VARIABLE/a, but the environment variable NO_SUCH_VARIABLE is not set",
        ),
    ],
)
def test_pictures_that_do_not_go_together(images, sentence):
    assert refused(f"{{images: {images}}}").startswith(sentence)


def test_places_where_results_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    place = f"results: {tmp_path}"
    assert (
        refused(f"{{{place}/file/new}}")
        == f"results is {tmp_path}/file/new, but {tmp_path}/file is a file and not a folder"
    )
    assert refused("{results: -x}").startswith("results is -x, which commands would take for a flag")
    among = f"{{{place}/new, images: {{training: {tmp_path}, references: b, queries: c}}}}"
    assert "lies in the folder of images.training: its own pictures would be found" in refused(among)


def test_what_is_known_without_torch_is_true():
    """The tables that are read while parsing, against the networks and the operations themselves."""
    from copytrace.networks import names
    from copytrace.networks.registry import _constructors, create_backbone
    from copytrace.synthesis.operations import OPERATIONS
    from copytrace.synthesis.plan import FORMS

    assert {name: create_backbone(name).feature_dim for name in _constructors} == names.FEATURE_WIDTHS
    without = [name for name in _constructors if not hasattr(create_backbone(name).network, "layer3")]
    assert list(names.WITHOUT_STAGES) == without
    parameters = {
        name: [p.name for p in inspect.signature(operation).parameters.values() if p.kind is p.KEYWORD_ONLY]
        for name, operation in OPERATIONS.items()
    }
    assert {name: list(form.parameters) for name, form in FORMS.items()} == parameters


@pytest.mark.parametrize(
    "flags, sentence",
    [
        (
            ["--dimensions", "513"],
            "whitening.dimensions is 513, but the feature of backbone b (timm:resnet18) has only 512",
        ),
        (["--network", "timm:mobilenetv3_small_050", "--waveblock"], "has no stages layer2 and layer3 for a WaveBlock"),
    ],
)
def test_networks_of_timm_are_asked_by_the_first_job_that_loads_them(tmp_path, flags, sentence):
    command = [sys.executable, REPOSITORY / "workflow_scripts" / "prepare_backbone.py", "--backbone", "b"]
    command += ["--network", "timm:resnet18", "--weights", '{"source": "none"}', "--seed", "0", "--threads", "1"]
    done = subprocess.run([*command, "--output", "b.safetensors", *flags], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and sentence in last and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "overlay, sentence",
    [
        ("matchin: {neighbours: 5}", "config: matchin is not a setting; did you mean matching?"),
        ("training: {steps: many}", "config: training.steps must be a whole number, not 'many'"),
        ("ensembling: {vote: 4}", "config: ensembling.vote asks for 4 agreeing backbones, but backbones names 3"),
        ("matching: {", "Config file is not valid JSON or YAML"),
    ],
)
def test_snakemake_prints_the_sentence(tmp_path, overlay, sentence):
    (tmp_path / "overlay.yaml").write_text(overlay)
    run = snakemake(tmp_path, "-n", overlays=[tmp_path / "overlay.yaml"])
    said = run.stdout + run.stderr
    assert run.returncode != 0
    assert sum(line.startswith(sentence) for line in said.splitlines()) == 1
    assert "Traceback" not in said and "instance" not in said


def test_numbers_inside_config_are_text_and_said_to_be(tmp_path):
    run = snakemake(tmp_path, "-n", "--config", "ensembling={vote: 2}")
    assert run.returncode != 0
    assert "config: ensembling.vote must be a whole number, not the text '2'" in run.stdout + run.stderr
    assert "--configfile" in run.stdout + run.stderr
