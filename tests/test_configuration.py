"""What the configuration says, looked up; tests/test_bad_configuration.py has what it may not say."""

import copy
import re
from pathlib import Path

import pytest
import yaml

from copytrace import configuration, validation
from copytrace.synthesis import plan

REPOSITORY = Path(__file__).parent.parent
SCHEMA = yaml.safe_load((REPOSITORY / "schemas" / "config.schema.yaml").read_text())


@pytest.fixture
def config():
    return yaml.safe_load((REPOSITORY / "config.yaml").read_text())


def merged(config, name):
    from snakemake.utils import update_config

    overlay = yaml.safe_load((REPOSITORY / name).read_text())
    config = copy.deepcopy(config)
    update_config(config, overlay)
    return config


def test_the_shipped_configurations_are_valid(config):
    for candidate in (
        config,
        merged(config, "profiles/photos.yaml"),
        merged(config, "profiles/verified.yaml"),
        merged(config, "tests/configuration/micro.yaml"),
    ):
        validation.check_schema(candidate, SCHEMA)
        configuration.check(candidate)


def test_the_readme_s_ways_without_internet_are_valid(config, tmp_path, monkeypatch):
    from snakemake.utils import update_config

    photos = merged(config, "profiles/photos.yaml")
    readme = (REPOSITORY / "README.md").read_text()
    overlay = yaml.safe_load(re.search(r"```yaml\n(# offline.yaml\n.*?)```", readme, re.DOTALL)[1])
    file = tmp_path / "weights"
    file.touch()
    overlay["backbone_table"]["mobilenetv3"]["weights"]["path"] = str(file)
    monkeypatch.setenv("COPYTRACE_WEIGHTS", str(file))
    assert "`backbones: [mobilenet_v2]`" in readme
    for given in (overlay, {"backbones": ["mobilenet_v2"]}):
        candidate = copy.deepcopy(photos)
        update_config(candidate, given)
        validation.check_schema(candidate, SCHEMA)
        configuration.check(candidate)


def test_overlays_name_no_pictures():
    for overlay in (REPOSITORY / "profiles").glob("*.yaml"):
        images = yaml.safe_load(overlay.read_text()).get("images", {})
        assert not set(images) - {"shards", "max_pixels"}, overlay


def test_every_key_has_a_comment_or_a_schema_entry(config):
    """The schema knows every key of config.yaml, and config.yaml has every required key."""
    assert set(config) == set(SCHEMA["properties"]) == set(SCHEMA["required"])


def test_blur_is_for_references_and_not_for_queries(config):
    config["family_table"]["blur_BW"] |= {"blur": 5, "query_blur": 0}
    for role, blur in (("references", 5), ("training", 5), ("tiles", 5), ("queries", 0), ("validation", 0)):
        assert configuration.preprocessing_of(config, "blur_BW.resnet10", role)["blur"] == blur
    assert configuration.preprocessing_of(config, "blur_BW.resnet10", "queries")["grey"]


def test_units(config):
    assert configuration.units_of(config, "u_CC") == {"u_CC": [f"u_CC.{b}" for b in config["backbones"]]}
    config["descriptors"]["unit"] = "model"
    assert configuration.units_of(config, "u_CC") == {f"u_CC.{b}": [f"u_CC.{b}"] for b in config["backbones"]}


def test_the_descriptor_tracks_model(config):
    assert configuration.track_model(config) == "track_CC.resnet10"
    assert "track_CC" not in str(configuration.all_units(config))
    own, others = (configuration.training_of(config, family) for family in ("track_CC", "u_CC"))
    keys = ("cross_entropy_weight", "distillation_weight", "temperature", "detach_teacher")
    matrix = own.pop("matrix")
    assert matrix.pop("dimensions") == 256
    assert own == others and matrix == {key: config["descriptor_track"][key] for key in keys}
    base, track = config["synthesis"]["chain"], config["family_table"]["track_CC"]
    steps = plan.plan_chain(base, "track_CC", track["chain"], False, False)
    changed = [a.name for a, b in zip(steps, plan.plan_chain(base, "x", {}, False, False)) if a != b]
    assert changed == ["onto_background"]  # all that differs from the matching track's copies (BoT sheet, 2)
    paper = merged(config, "profiles/paper.yaml")
    assert configuration.track_model(paper) == "track_CC.resnet50"
    section = configuration.training_of(paper, "track_CC")
    assert (section["embedding"], section["matrix"]["dimensions"]) == (8192, 256)
    assert (section["cross_entropy_weight"], section["triplet_weight"]) == (10, 1)
    assert [section["matrix"][key] for key in keys] == [1, 2, 2, False]
    assert section["steps"] == 8000 * 25 and section["classes_per_batch"] * section["copies_per_class"] == 128


def test_steps_of_families(config):
    config["training"]["steps"] = 100
    steps = [configuration.training_of(config, f)["steps"] for f in ("u_CC", "face_BW", "pretrained_CC")]
    assert steps == [100, 145, 0]
    paper = merged(config, "profiles/paper.yaml")
    of_pairs, of_copies = (configuration.training_of(paper, family) for family in ("pairs_CC", "u_CC"))
    assert of_pairs["steps"] == 800 * of_pairs["epochs"]  # D²LV sheet, 4.4
    assert (of_pairs["augment"], of_copies["augment"]) == (False, True)
    assert {**of_pairs, "steps": 0, "augment": True} == {**of_copies, "steps": 0}
    config["training"]["steps"] = 0
    assert configuration.training_of(config, "face_BW")["steps"] == 0
