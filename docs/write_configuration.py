"""Write docs/configuration.md: types, limits and meanings from the schema, defaults from config.yaml.

`make docs` runs it; a test fails where the page is not what it would write.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
LONGEST_DEFAULT = 40

Schema = Mapping[str, Any]

INTRODUCTION = """\
# Configuration

<!-- Written by docs/write_configuration.py from schemas/config.schema.yaml and config.yaml: run `make docs`. -->

Every setting of copytrace is a key of `config.yaml`. Values are checked when Snakemake reads them: an unknown key or a
value out of range ends the command before anything runs.

## Changing settings

Either edit `config.yaml`, or lay a file over it that holds only what differs, an *overlay*:

```yaml
# mine.yaml
results: results/mine
matching:
  neighbours: 20
```

```bash
snakemake --cores all --configfile mine.yaml
snakemake --cores all --configfile profiles/photos.yaml mine.yaml    # the last one wins
```

* Mappings are merged key by key: the overlay above leaves the other keys of `matching` as they are. Lists are replaced
  as a whole.
* `--configfile` takes all words that follow it as files, so a target stands before it:
  `snakemake results/matching.csv --cores all --configfile mine.yaml`. A target of your own leaves out what it does
  not need, the first check of folders and ground truth too.
* `--config seed=3` changes a key at the top of the file. Numbers, `true` and `false` inside a section arrive as text
  that way and are refused: use an overlay.
* Give each configuration a folder `results` of its own, or the next run replaces what the last one made.

After a change Snakemake makes again what depends on the changed value and nothing else; `snakemake -n` shows what that
is.

| a change of | makes again |
|---|---|
| `seed`, `sample` | everything that is drawn or depends on it |
| a folder or list of `images`, its `shards` | what depends on the pictures of that role |
| `max_pixels` | everything |
| `families`, `backbones`, a row of `backbone_table` | the models that it adds or changes, the votes, the list |
| `synthesis`; `grey`, `faces` or `chain` of a family | the copies, and all from the training on |
| `pretraining`, `training`; `steps_factor` of a family | those trainings, and all from the descriptors on |
| `detection` | the detector or only its boxes, and all from the parts on, if it is used |
| `parts`, `tiles`, `faces` | the parts or the list of faces, and what uses them |
| `scales`, `descriptors`, `whitening`; `blur` or `query_blur` of a family | all from the descriptors on |
| `matching` | all from the matching on |
| `ensembling`; `minimum_side` of a family | the votes or the list, and the evaluation |
| `training_pairs`, `second_submission` | the models of pairs, the second list, the evaluation |
| `verification` | the local features or their index, the measured pairs or only `matches.csv`, and what follows |
| `descriptor_track` | its training, descriptors or only `descriptors.h5` and `descriptors.csv`, and its evaluation |
| `untrained_families`, `validation_copies` | their descriptors, the evaluation |
| other keys of `evaluation`; `report` | the evaluation, the report |
| `on_bad_image`, `execution` | nothing that has been made |

## Reading the tables

Where a length is in *pixels at* another key, that key holds the side of the picture that the number was chosen for, and
the number scales with the side of the picture at hand. *Published* is the value of the published system, D²LV, if it is
known, and in the section `descriptor_track` that of BoT; [fidelity.md](fidelity.md) says more. NAME stands for names
that you choose; keys below it *must be given* or *may be left out*.
"""


def page(schema: Schema, config: Mapping[str, Any], overlays: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of the page.

    Args:
        schema: content of `schemas/config.schema.yaml`.
        config: content of `config.yaml`; its order is the order of the sections.
        overlays: by file name, content of each overlay in `profiles/`.
    """
    definitions = schema["$defs"]
    parts = [INTRODUCTION, "## Sections\n", *(f"* [`{key}`](#{key})" for key in config), ""]
    for key, default in config.items():
        parts += [
            f"## {key}\n",
            *section(key, resolved(schema["properties"][key], definitions), default, definitions),
            "",
        ]
        if key == "synthesis":
            parts += ["### Operations of a chain\n", *operations(definitions, default["chain"]["steps"]), ""]
    parts.append("## Overlays in `profiles/`\n\nA comment at the top of each file says what it is for.\n")
    for name, overlay in overlays.items():
        parts += [f"`{name}` sets:\n", "| key | `config.yaml` | overlay |", "|---|---|---|"]
        for path, value in leaves(overlay):
            parts.append(f"| `{'.'.join(path)}` | {default_of(config, path)} | {in_code(value)} |")
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def default_of(config: Mapping[str, Any], path: Iterable[str]) -> str:
    """What `config.yaml` has at a path of keys, or that a row which an overlay adds is not there."""
    default: Any = config
    for part in path:
        if part not in default:
            return "not there"
        default = default[part]
    return in_code(default)


def section(key: str, schema: Schema, default: Any, definitions: Schema) -> list[str]:
    """One key of the top: what it is for and a table of its keys, or one row where it has none."""
    header = ["| key | type | default | meaning |", "|---|---|---|---|"]
    if schema.get("type") != "object":
        return [*header, table_row(key, schema, shown_default(default), definitions)]
    return [schema["description"].strip() + "\n", *header, *key_rows(schema, default, definitions)]


def key_rows(schema: Schema, default: Any, definitions: Schema, prefix: str = "") -> Iterator[str]:
    """A table row for each key of a mapping and of the mappings in it.

    Rows that a user names have no default: there `default` is None, and a key must be given or may be left out.
    """
    if "properties" not in schema:
        schema, default, prefix = schema["additionalProperties"], None, f"{prefix}NAME."
    for key, raw in schema["properties"].items():
        child = resolved(raw, definitions)
        nested = "properties" in child or "properties" in (child.get("additionalProperties") or {})
        if default is None:
            value, shown = None, "must be given" if key in schema.get("required", ()) else "may be left out"
        else:
            value = default[key]
            shown = "" if nested else shown_default(value)
        yield table_row(f"{prefix}{key}", child, shown, definitions)
        if nested:
            yield from key_rows(child, value, definitions, f"{prefix}{key}.")


def table_row(key: str, schema: Schema, default: str, definitions: Schema) -> str:
    """One line of a table of keys."""
    return f"| `{key}` | {in_words(schema, definitions)} | {default} | {meaning(schema, definitions)} |"


def operations(definitions: Schema, steps: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The table of the operations that `steps`, the base chain, and other chains can have."""
    lines = [
        "What a step of a chain can do, with the parameters that it takes; all of them must be given. A *range* is\n"
        "`[low, high]`, from which a value is drawn uniformly for each copy. A foreign picture is one of\n"
        "`images.backgrounds`. The last column has the values of the base chain, `synthesis.chain.steps`, as\n"
        "published.\n",
        "| operation | parameter | type | meaning | base chain |",
        "|---|---|---|---|---|",
    ]
    for name, operation in definitions["operations"].items():
        step = next((s for key, s in steps.items() if s.get("operation", key) == name), {})
        probability = f"`probability: {step['probability']}`" if step else "not there"
        lines.append(f"| `{name}` | | | {meaning(operation, definitions)} | {probability} |")
        for parameter, raw in operation["properties"].items():
            schema = resolved(raw, definitions)
            words = _range(schema, definitions) if schema["type"] == "array" else in_words(schema, definitions)
            value = shown_default(step[parameter]) if step else ""
            lines.append(f"| | `{parameter}` | {words} | {meaning(schema, definitions)} | {value} |")
    return lines


def resolved(schema: Schema, definitions: Schema) -> Schema:
    """A schema with the definition that it refers to filled in; its own keys win."""
    if "$ref" not in schema:
        return schema
    definition = definitions[schema["$ref"].removeprefix("#/$defs/")]
    return {**definition, **{key: value for key, value in schema.items() if key != "$ref"}}


def in_words(schema: Schema, definitions: Schema) -> str:
    """Type and limits as a person says them, such as "whole number, at least 1"."""
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    kind = types[0]
    if kind == "array":
        items = resolved(schema["items"], definitions)
        fixed = schema.get("minItems") == schema.get("maxItems")
        words = f"list of {schema['minItems']} " if fixed and "minItems" in schema else "list of "
        words += _plural(items, definitions)
        if "minItems" in schema and not fixed:
            words += f"; at least {schema['minItems']}"
        return words + (", none twice" if schema.get("uniqueItems") else "")
    words = {"integer": "whole number", "number": "number", "boolean": "`true` or `false`", "string": "text"}.get(
        kind, "mapping"
    )
    limits = _limits(schema)
    if "null" in types:
        words += ", " + limits + ", or `null`" if limits else " or `null`"
    elif limits:
        words += ", " + limits
    return words


def _range(schema: Schema, definitions: Schema) -> str:
    """The two numbers that a parameter is drawn between."""
    items = resolved(schema["items"], definitions)
    words = "range of whole numbers" if items["type"] == "integer" else "range"
    limits = _limits(items)
    return f"{words}, {limits}" if limits else words


def _plural(items: Schema, definitions: Schema) -> str:
    if "enum" in items:
        return ", ".join(f"`{value}`" for value in items["enum"])
    words = {"integer": "whole numbers", "number": "numbers", "string": "names"}.get(items["type"], "mappings")
    limits = _limits(items)
    return f"{words}, each {limits}" if limits else words


def _limits(schema: Schema) -> str:
    """Limits of a number in words; empty where there are none."""
    if "minimum" in schema and "maximum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return " and ".join(f"{text} {schema[key]}" for key, text in words.items() if key in schema)


def meaning(schema: Schema, definitions: Schema) -> str:
    """The description and, a line each, what the single values mean."""
    values = schema.get("meanings") or resolved(schema.get("items", {}), definitions).get("meanings", {})
    lines = [" ".join(schema["description"].split()), *(f"`{value}`: {text}" for value, text in values.items())]
    return "<br>".join(lines).replace("|", r"\|")


def shown_default(value: Any) -> str:
    """A value as code, or where to look it up if it is long."""
    shown = in_code(value)
    return shown if len(shown) <= LONGEST_DEFAULT else "see `config.yaml`"


def in_code(value: Any) -> str:
    """A value as it stands in YAML, in one line."""
    return f"`{_flow(value)}`"


def _flow(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_flow(item)}' for key, item in value.items())}}}"
    return value if isinstance(value, str) else json.dumps(value)


def leaves(settings: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path of keys, value) of everything in nested mappings that is no mapping."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def current_page() -> str:
    """The page as the files of this repository make it."""
    overlays = {f"profiles/{path.name}": _read(path) for path in sorted((REPOSITORY / "profiles").glob("*.yaml"))}
    return page(_read(REPOSITORY / "schemas" / "config.schema.yaml"), _read(REPOSITORY / "config.yaml"), overlays)


def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def main() -> None:
    """Read the argument, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "configuration.md")
    args = parser.parse_args()
    args.output.write_text(current_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
