"""The configuration held against its schema: one sentence about the first value that it refuses.

Of packages only jsonschema, which Snakemake brings: Snakemake calls this while it parses the workflow.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from jsonschema import Draft202012Validator, ValidationError, validators

from copytrace.errors import InputError
from copytrace.suggestions import closest

Schema = dict[str, Any]
Place = Sequence[str | int]

_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a section with keys of its own",
    "null": "null",
}
_LIMITS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "more than",
    "exclusiveMaximum": "less than",
}


def check_schema(config: dict[str, Any], schema: Schema) -> None:
    """Raise InputError with one sentence about the first mistake, an unknown key before anything else.

    Stricter than JSON schema in two points: 3.0 is no whole number, and nan and inf are no numbers.
    """
    mistakes = list(_Validator(schema).iter_errors(config))
    if mistakes:
        # An unknown key often is why another one is missing.
        raise InputError(_sentence(min(mistakes, key=lambda mistake: not _is_unknown_key(mistake)), config, schema))


def _is_whole(_: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(_: object, value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_of_pattern(_: object, pattern: str, value: object, __: object) -> Iterator[ValidationError]:
    """`$` would let a text end in a line break."""
    if isinstance(value, str) and not re.fullmatch(pattern, value):
        yield ValidationError("")


_Validator = validators.extend(
    Draft202012Validator,
    {"pattern": _is_of_pattern},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": _is_whole, "number": _is_number}),
)


def _is_unknown_key(mistake: ValidationError) -> bool:
    return mistake.validator == "additionalProperties" or "propertyNames" in mistake.schema_path


def _sentence(mistake: ValidationError, config: dict[str, Any], schema: Schema) -> str:
    path, value, wanted = list(mistake.absolute_path), mistake.instance, mistake.validator_value
    name = _dotted(path)
    match mistake.validator:
        case "additionalProperties":
            known = list(mistake.schema["properties"])
            return _unknown_key(path, next(str(key) for key in value if key not in known), known, schema)
        case "enum" if "propertyNames" in mistake.schema_path:
            return _unknown_key(path, str(value), wanted, schema)
        case "required":
            return _missing_keys(path, [key for key in wanted if key not in value], config, schema)
        case "type":
            types = [wanted] if isinstance(wanted, str) else wanted
            return f"{name} must be {' or '.join(_TYPES[kind] for kind in types)}, not {_shown(value, types)}"
        case "enum":
            known = list(map(str, wanted))
            meant = closest(str(value), known)
            question = f"; did you mean {meant}?" if meant else ""
            return f"{name} is {_shown(value)}, but must be one of {', '.join(known)}{question}"
        case "uniqueItems":
            return f"{name} names {next(item for item in value if value.count(item) > 1)} twice"
        case "minItems" | "maxItems" if mistake.schema.get("minItems") == mistake.schema.get("maxItems"):
            return f"{name} must have {wanted} entries, but has {len(value)}"
        case "minItems" | "maxItems":
            limit = "at least" if mistake.validator == "minItems" else "at most"
            return f"{name} must have {limit} {wanted} entries, but has {len(value)}"
        case "minLength":
            return f"{name} is an empty text: name something" + ", or write null" * ("null" in mistake.schema["type"])
        case "pattern":
            characters = re.fullmatch(r"\^\[(.+)\]\+\$", wanted)
            form = f"may have only the characters {characters[1]}" if characters else f"must match {wanted}"
            if characters and "/" in characters[1] and re.match(r"~|.*\$", value):
                form += ": write the full path, ~ and variables are not filled in here"
            return f"{name} is {_shown(value)}, but {form}"
        case limit:
            return f"{name} is {value}, but must be {_LIMITS[str(limit)]} {wanted}"


def _unknown_key(section: Place, key: str, known: Sequence[str], schema: Schema) -> str:
    name = _dotted([*section, key])
    if "." in key:
        return f"the key {key!r} has a dot in it: write {key.replace('.', ': {', 1)}: …}} with sections as mappings"
    meant = closest(key, known)
    if meant:
        return f"{name} is not a setting; did you mean {_dotted([*section, meant])}?"
    elsewhere = {path.split(".")[-1]: path for path in reversed(list(_settings(schema)))}
    meant = closest(key, elsewhere)
    if meant:
        return f"{name} is not a setting; did you mean {elsewhere[meant]}?"
    return f"{name} is not a setting; {_dotted(section) or 'the configuration'} has {', '.join(known)}"


def _missing_keys(section: Place, missing: Sequence[str], config: dict[str, Any], schema: Schema) -> str:
    if len(section) == 2 and "properties" not in schema["properties"][str(section[0])]:  # a row of a table
        table, row = map(str, section)
        meant = closest(row, [str(other) for other in config[table] if str(other) != row])
        question = f"; did you mean {table}.{meant}?" if meant else ""
        return f"{table}.{row} lacks {', '.join(missing)}{question}"
    return f"{_dotted([*section, missing[0]])} is missing"


def _settings(schema: Schema, prefix: str = "") -> Iterator[str]:
    """The dotted names of all keys that the schema knows by name."""
    for key, inner in schema.get("properties", {}).items():
        yield prefix + key
        yield from _settings(inner, f"{prefix}{key}.")


def _dotted(path: Place) -> str:
    """images.shards.queries; a place in a list counts from 1: entry 2 of parts.kinds."""
    places = [position for position, step in enumerate(path) if isinstance(step, int)]
    if not places:
        return ".".join(map(str, path))
    last = places[-1]
    number, inner = int(path[last]) + 1, _dotted(path[last + 1 :])
    return f"{inner + ' in ' if inner else ''}entry {number} of {_dotted(path[:last])}"


def _shown(value: object, types: Sequence[str] = ()) -> str:
    if isinstance(value, dict):
        return "a section with keys of its own"
    if isinstance(value, list):
        return f"the list {value}"
    if value is None:
        return "null, that is empty"
    if isinstance(value, str):
        if {"integer", "number"} & set(types) and _looks_like_a_number(value):
            return (
                f"the text {value!r}: numbers have no quotes and exponents a point and a sign, as in 1.0e-3; "
                "inside --config 'KEY={...}' every number is text, so write it in a file for --configfile"
            )
        return repr(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _looks_like_a_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
