"""Configurations that can't work are refused while Snakemake reads them, with one sentence."""

import copy
import re
from pathlib import Path

import pytest
import yaml

from copytrace import configuration
from copytrace.runtime import InputError

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture
def config():
    return yaml.safe_load((REPOSITORY / "config.yaml").read_text())


def validate(config):
    from snakemake.utils import validate as against

    against(config, REPOSITORY / "schemas" / "config.schema.yaml")


def merged(config, name):
    from snakemake.utils import update_config

    overlay = yaml.safe_load((REPOSITORY / name).read_text())
    config = copy.deepcopy(config)
    update_config(config, overlay)
    return config


def test_the_shipped_configurations_are_valid(config):
    for candidate in (config, merged(config, "profiles/photos.yaml"), merged(config, "tests/configuration/micro.yaml")):
        validate(candidate)
        configuration.check(candidate)


def test_overlays_name_no_pictures():
    for overlay in (REPOSITORY / "profiles").glob("*.yaml"):
        images = yaml.safe_load(overlay.read_text()).get("images", {})
        assert not set(images) - {"shards", "max_pixels"}, overlay


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"families": ["baseline_CC", "blurry"]}, "families names blurry, which is not in family_table"),
        ({"backbones": ["resnet10", "vgg"]}, "backbones names vgg"),
        ({"backbones": ["resnet10"]}, "ensembling.vote asks for 2 agreeing backbones, but backbones names 1"),
        ({"families": ["blur_CC"]}, "tiles.families names baseline_CC, which is not among families"),
        ({"scales": [96]}, "tiles.scales names 128, which is not among scales"),
        ({"images": {"queries": "photos"}}, "images.training is not set"),
        ({"images": {"ground_truth": "truth.csv"}}, "go with pictures of your own"),
        ({"tiles": {"scales": []}}, "tiles.scales is empty"),
        ({"tiles": {"kinds": ["grid2", "whole"]}}, "tiles.kinds must begin with whole"),
        (
            {"ensembling": {"penalties": {"whole": 0}}},
            "ensembling.penalties has no penalty for parts of the kind rotation",
        ),
        ({"evaluation": {"untrained_families": ["u_CC"]}}, "names u_CC, whose steps_factor is not 0"),
        ({"evaluation": {"untrained_families": ["none"]}}, "evaluation.untrained_families names none"),
    ],
)
def test_values_that_do_not_go_together(config, change, sentence):
    for key, value in change.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    with pytest.raises(InputError, match=re.escape(sentence)) as mistake:
        configuration.check(config)
    assert "\n" not in str(mistake.value)


@pytest.mark.parametrize(
    "path, value",
    [
        (("training", "stepss"), 3),
        (("seed",), "zero"),
        (("matching", "neighbours"), 0),
        (("whitening", "power"), 1),
        (("descriptors", "kind"), "feeling"),
        (("images", "shards", "queries"), 0),
        (("parts", "kinds"), ["whole", "corner"]),
    ],
)
def test_the_schema_refuses(config, path, value):
    place = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(Exception, match=path[-1]):
        validate(config)


def test_every_key_has_a_comment_or_a_schema_entry(config):
    """The schema knows every key of config.yaml, and config.yaml has every required key."""
    schema = yaml.safe_load((REPOSITORY / "schemas" / "config.schema.yaml").read_text())
    assert set(config) == set(schema["properties"]) == set(schema["required"])


def test_blur_is_for_references_and_not_for_queries(config):
    config["family_table"]["blur_BW"] |= {"blur": 5, "query_blur": 0}
    for role, blur in (("references", 5), ("training", 5), ("tiles", 5), ("queries", 0), ("validation", 0)):
        assert configuration.preprocessing_of(config, "blur_BW.resnet10", role)["blur"] == blur
    assert configuration.preprocessing_of(config, "blur_BW.resnet10", "queries")["grey"]


def test_units(config):
    assert configuration.units_of(config, "u_CC") == {"u_CC": [f"u_CC.{b}" for b in config["backbones"]]}
    config["descriptors"]["unit"] = "model"
    assert configuration.units_of(config, "u_CC") == {f"u_CC.{b}": [f"u_CC.{b}"] for b in config["backbones"]}


def test_results_may_not_lie_among_the_pictures(config, tmp_path):
    config["images"] |= {role: str(tmp_path) for role in ("training", "references", "queries")}
    config["results"] = str(tmp_path / "results")
    with pytest.raises(InputError, match=r"lies in the folder of images\.training"):
        configuration.check(config)


def test_steps_of_families(config):
    config["training"]["steps"] = 100
    steps = [configuration.training_of(config, f)["steps"] for f in ("u_CC", "face_BW", "pretrained_CC")]
    assert steps == [100, 145, 0]
    config["training"]["steps"] = 0
    assert configuration.training_of(config, "face_BW")["steps"] == 0
