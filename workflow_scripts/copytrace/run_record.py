"""What a run began with, for its jobs on a cluster: each parses the workflow again, perhaps hours later.

A job that computed with settings or code edited meanwhile would leave results that no record explains: Snakemake
notes those that the run began with. Standard library only: Snakemake calls this while it parses the workflow.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from copytrace.errors import InputError


def write(path: Path, configuration: dict[str, Any], code: dict[str, str]) -> None:
    """Write the resolved configuration and the code digest of every rule as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".half")
    half.write_text(json.dumps({"configuration": configuration, "code": code}, indent=1))
    half.replace(path)


def check(path: Path, configuration: dict[str, Any], code: dict[str, str]) -> None:
    """Raise InputError if the run began with another configuration, or with other code of the rules in `code`."""
    try:
        began = json.loads(path.read_text())
    except OSError as reason:
        raise InputError(f"{path}, which says what this run began with, can't be read ({reason.strerror})") from None
    before, now = _flat(began["configuration"]), _flat(json.loads(json.dumps(configuration)))
    for key in [*before, *now]:
        if key not in before or key not in now or before[key] != now[key]:
            was, is_now = (json.dumps(values[key]) if key in values else "not set" for values in (before, now))
            raise InputError(
                f"the configuration was changed since this run began ({key}: {was}, now {is_now}): "
                "stop the run and start it again"
            )
    for rule, digest in code.items():
        if began["code"].get(rule) != digest:
            raise InputError(
                f"the code or environment of rule {rule} was changed since this run began: stop the run and start it "
                "again"
            )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; lists and empty mappings are values."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    rows: dict[str, Any] = {}
    for key, inner in value.items():
        rows |= _flat(inner, f"{prefix}.{key}" if prefix else key)
    return rows
