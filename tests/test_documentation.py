"""The documentation says what is there: each key, operation and network, links and commands."""

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml
from draw_graphs import dot
from write_configuration import resolved

from copytrace.networks.names import FEATURE_WIDTHS, TIMM_PREFIX
from copytrace.networks.weights import MAPPINGS
from copytrace.synthesis import plan
from copytrace.synthesis.operations import OPERATIONS

REPOSITORY = Path(__file__).parent.parent
SCHEMA = yaml.safe_load((REPOSITORY / "schemas" / "config.schema.yaml").read_text())
CONFIG = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]

# Rows that a user names may lack these; everything else has a value in config.yaml.
OPTIONAL = {
    "synthesis.chain.steps.NAME.operation",
    "family_table.NAME.steps_factor",
    "family_table.NAME.chain.insert",
    "family_table.NAME.chain.remove",
    "family_table.NAME.chain.set",
    "family_table.NAME.chain.published_grey",
    *(f"backbone_table.NAME.weights.{key}" for key in ("path", "url", "mapping", "sha256", "steps", "batch")),
}


def keys(schema: dict = SCHEMA, path: str = "") -> Iterator[tuple[str, dict, bool]]:
    """Dotted name, schema and whether it is required, of each key; NAME is a key that a user names."""
    for key, raw in schema.get("properties", {}).items():
        child = resolved(raw, SCHEMA["$defs"])
        yield f"{path}{key}", child, key in schema.get("required", ())
        yield from keys(child, f"{path}{key}.")
    rows = schema.get("additionalProperties")
    if rows and "properties" in rows:
        yield f"{path}NAME", rows, True
        yield from keys(rows, f"{path}NAME.")


def test_the_page_of_the_configuration_is_up_to_date(tmp_path):
    script = REPOSITORY / "docs" / "write_configuration.py"
    subprocess.run([sys.executable, script, "--output", tmp_path / "page.md"], check=True)
    written, there = tmp_path / "page.md", REPOSITORY / "docs" / "configuration.md"
    assert written.read_text() == there.read_text(), "docs/configuration.md is out of date: run `make docs`"


def edges(text: str, node: str, edge: str) -> set[tuple[str, str]]:
    """Pairs of rules that arrows join, where `node` finds (number, rule) and `edge` two numbers."""
    rules = dict(re.findall(node, text))
    return {(rules[start], rules[end]) for start, end in re.findall(edge, text)}


@pytest.mark.parametrize("graph", ["rulegraph", "rulegraph_paper"])
def test_the_drawn_rules_are_up_to_date(graph):
    now = edges(dot(graph), r'(\d+)\[label = "(\w+)"', r"(\d+) -> (\d+)")
    svg = (REPOSITORY / "docs" / f"{graph}.svg").read_text()
    drawn = edges(svg, r"<title>(\d+)</title>(?s:.*?)<text[^>]*>(\w+)</text>", r"<title>(\d+)&#45;&gt;(\d+)</title>")
    assert len(now) > 50
    assert drawn == now, f"docs/{graph}.svg is out of date: run `make graphs`"


def test_every_key_has_a_description():
    assert [path for path, schema, _ in keys() if not path.endswith("NAME") and not schema.get("description")] == []


def test_every_key_is_required_or_meant_to_be_optional():
    """With a valid config.yaml, so each other key has a default there."""
    assert {path for path, _, required in keys() if not required} == OPTIONAL


def test_only_steps_admit_keys_that_the_schema_does_not_name():
    """With a valid config.yaml, so each key there is described. A step's other keys are its operation's parameters."""
    closed = {path for path, schema, _ in keys() if schema.get("additionalProperties") is False}
    assert {path for path, schema, _ in keys() if "properties" in schema} - closed == {"synthesis.chain.steps.NAME"}


def test_single_values_are_explained_all_or_none():
    schemas = [resolved(schema.get("items", schema), SCHEMA["$defs"]) for _, schema, _ in keys()]
    explained = [schema for schema in schemas if "enum" in schema and "meanings" in schema]
    assert explained
    assert all(list(schema["meanings"]) == schema["enum"] for schema in explained)


def test_every_operation_is_documented_with_its_parameters():
    documented = {name: list(entry["properties"]) for name, entry in SCHEMA["$defs"]["operations"].items()}
    assert documented == {
        name: [p.name for p in inspect.signature(operation).parameters.values() if p.kind is p.KEYWORD_ONLY]
        for name, operation in OPERATIONS.items()
    }
    for entry in SCHEMA["$defs"]["operations"].values():
        assert entry["description"]
        assert all(resolved(parameter, SCHEMA["$defs"])["description"] for parameter in entry["properties"].values())


@pytest.mark.parametrize("family", CONFIG["family_table"])
def test_the_chains_keep_to_the_documented_limits(family):
    row = CONFIG["family_table"][family]
    steps = plan.plan_chain(CONFIG["synthesis"]["chain"], family, row["chain"], row["grey"], False)
    for view in [view for method in CONFIG["pretraining"].values() for view in method["views"]]:
        steps += plan.plan_chain({"order": list(view), "steps": view}, "view", {}, False, False)
    for step in steps:
        reference = {"$ref": f"#/$defs/operations/{step.operation}", "$defs": SCHEMA["$defs"]}
        jsonschema.Draft202012Validator(reference).validate(step.parameters)


PROBES = (-1, -0.5, 0, 0.01, 0.0625, 0.5, 1, 1.5, 7, 1020, 1021)


def test_the_documented_limits_are_those_that_are_checked():
    for name, entry in SCHEMA["$defs"]["operations"].items():
        for parameter, limits in plan.FORMS[name].parameters.items():
            reference = {"$ref": f"#/$defs/operations/{name}/properties/{parameter}", "$defs": SCHEMA["$defs"]}
            documented = jsonschema.Draft202012Validator(reference)
            values = PROBES if limits.single else [[low, high] for low in PROBES for high in PROBES if low <= high]
            differ = [value for value in values if limits.admits(value) != documented.is_valid(value)]
            assert not differ, f"{name}.{parameter}: {entry['properties'][parameter]} and {limits} differ on {differ}"


def test_every_network_and_mapping_is_named():
    row = SCHEMA["properties"]["backbone_table"]["additionalProperties"]["properties"]
    assert set(row["network"]["meanings"]) == {*FEATURE_WIDTHS, f"{TIMM_PREFIX}NAME"}
    assert set(row["weights"]["properties"]["mapping"]["enum"]) == set(MAPPINGS)


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_makefile_has_the_targets_that_are_named(page):
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^ *|`)make ([a-z-]+)", page.read_text(), re.MULTILINE))
    assert named <= targets


def test_the_page_of_fidelity_has_every_item_and_names_tests_that_exist():
    page = (REPOSITORY / "docs" / "fidelity.md").read_text()
    sections = page[page.index("## Training") : page.index("## Not built yet")]
    items = re.findall(r"^\| ([TPEB]\d+) \|", sections, re.MULTILINE)
    assert items == [
        f"{kind}{n + 1}" for kind, last in (("T", 13), ("P", 5), ("E", 22), ("B", 16)) for n in range(last)
    ]
    there = {
        name
        for file in (REPOSITORY / "tests").glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", page))
    assert named and not named - there
