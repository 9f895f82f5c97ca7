"""The bill as a person reads it: tables by stage, by rule and of the rates, as CSV, Markdown and a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from copytrace import figures
from copytrace.bill import Entry, Pictures, Rate

UNKNOWN = "not measured"

INTRODUCTION = """\
Worked out before anything ran, from the configuration and {pictures}.
Mean picture: {megapixels:.3g} megapixels. Parts per query: {parts:.3g}.

A processor-hour (CPU) is an hour of one thread. A GPU-hour is an hour in which a job holds a GPU, loading of pictures
included. Memory is that of the largest job, its process included; with a GPU, networks and batches lie on it. Jobs that
only list, join, draw or evaluate tables are billed as the start of their process. Not counted are the classes of faces,
and parts that the overlay detector finds where bill.found_parts has none: how many there are shows only later. A rate
that was not measured leaves its hours out of the sums, and the bill says so.
"""


def by_rule(entries: Sequence[Entry]) -> pd.DataFrame:
    """One row per work: `stage, rule, what, jobs, amount, unit, gpu_hours, cpu_hours, stored_bytes, memory_bytes,
    not_measured`; NaN for what is not known.
    """
    rows = [
        {
            "stage": entry.work.stage,
            "rule": entry.work.rule,
            "what": entry.work.what,
            "jobs": int(entry.work.jobs),
            "amount": entry.work.count,
            "unit": entry.work.unit,
            "gpu_hours": entry.gpu_hours,
            "cpu_hours": entry.cpu_hours,
            "stored_bytes": entry.work.stored,
            "memory_bytes": entry.memory,
            "not_measured": "; ".join(entry.missing),
        }
        for entry in entries
    ]
    numbers = ["gpu_hours", "cpu_hours", "stored_bytes", "memory_bytes"]
    return pd.DataFrame(rows).astype(dict.fromkeys(numbers, "float64"))


def by_stage(table: pd.DataFrame) -> pd.DataFrame:
    """Sums per stage in the order of the stages, and of all: `stage, jobs, gpu_hours, cpu_hours, stored_bytes,
    memory_bytes, gpu_known, cpu_known`.

    Sums are over what is known; `gpu_known` and `cpu_known` say whether that is all. Memory is the largest.
    """
    stages = [(stage, rows) for stage, rows in table.groupby("stage", sort=False)]
    return pd.DataFrame(
        [
            {
                "stage": stage,
                "jobs": rows["jobs"].sum(),
                **{name: rows[name].sum() for name in ("gpu_hours", "cpu_hours", "stored_bytes")},
                "memory_bytes": rows["memory_bytes"].max(),
                "gpu_known": rows["gpu_hours"].notna().all(),
                "cpu_known": rows["cpu_hours"].notna().all(),
            }
            for stage, rows in [*stages, ("all", table)]
        ]
    )


def markdown(
    table: pd.DataFrame, track: pd.DataFrame, rates: Mapping[str, Rate], pictures: Pictures, query_parts: int
) -> str:
    """The bill as a page of Markdown; `track`: the rows of the descriptor track, which is made only if asked for."""
    counted = ", ".join(f"{number:,} {role}" for role, number in pictures.count.items())
    introduction = INTRODUCTION.format(
        pictures=counted, megapixels=pictures.megapixels, parts=query_parts / pictures.count["queries"]
    )
    headings = ["GPU-hours", "CPU-hours", "storage", "memory of a job"]
    measured = [
        [kind, f"{rate.value:.4g} {rate.unit}/s", f"{rate.device} ({rate.processor.upper()})", rate.date, rate.command]
        for kind, rate in rates.items()
    ]
    missing = sorted(
        {name for cell in [*table["not_measured"], *track["not_measured"]] for name in cell.split("; ") if name}
    )
    sections = [
        "# Bill\n",
        introduction,
        "## By stage\n",
        _table(["stage", "jobs", *headings], map(_stage, _rows(by_stage(table)))),
        "## By rule\n",
        _table(["rule", "jobs", "work", *headings], map(_rule, _rows(table))),
        "## Descriptor track\n",
        "What `snakemake descriptor_track` adds, not counted above.\n",
        _table(["stage", "jobs", *headings], map(_stage, _rows(by_stage(track).iloc[:1]))),
        _table(["rule", "jobs", "work", *headings], map(_rule, _rows(track))),
        "## Rates\n",
        _table(["kind", "rate", "device", "date", "command"], measured),
        f"Not measured: {', '.join(missing)}.\n" if missing else "",
    ]
    return "\n".join(filter(None, sections))


def draw(table: pd.DataFrame, path: str | Path) -> None:
    """Hours, storage and jobs of each stage as bars, on logarithmic axes; PNG."""
    stages = by_stage(table).iloc[:-1].iloc[::-1]
    figure = Figure(figsize=(9, 1.6 + 0.32 * len(stages)), layout="constrained")
    hours, storage, jobs = figure.subplots(1, 3, sharey=True)
    place = range(len(stages))
    processors = hours.barh([p + 0.2 for p in place], stages["cpu_hours"], height=0.36, color="C0", label="CPU")
    devices = hours.barh([p - 0.2 for p in place], stages["gpu_hours"], height=0.36, color="C1", label="GPU")
    for position, row in zip(place, _rows(stages)):
        if not (row.gpu_known and row.cpu_known):
            lacking = " and ".join(n for n, known in (("CPU", row.cpu_known), ("GPU", row.gpu_known)) if not known)
            hours.annotate(
                f"{lacking} {UNKNOWN}", (0.02, position - 0.2), xycoords=("axes fraction", "data"), va="center",
                fontsize=7, color="0.3",
            )  # fmt: skip
    hours.set_xlabel("hours")
    hours.legend(fontsize=8, loc="lower right")
    stored = storage.barh(place, stages["stored_bytes"] / 1e9, color="C2")
    storage.set_xlabel("storage, GB")
    counted = jobs.barh(place, stages["jobs"], color="C4")
    jobs.set_xlabel("jobs")
    for panel, bars in ((hours, processors), (hours, devices), (storage, stored), (jobs, counted)):
        panel.bar_label(bars, [_short(v) if v > 0 else "" for v in bars.datavalues], padding=2, fontsize=7)
    for panel in (hours, storage, jobs):
        panel.set_xscale("log")
        least, most = panel.get_xlim()
        panel.set_xlim(
            10 ** math.floor(math.log10(least)), 10 ** (math.ceil(math.log10(most)) + 0.5)
        )  # room for labels
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.tick_params(labelsize=8)
        panel.grid(axis="x", color="0.92")
        panel.set_axisbelow(True)
    hours.set_yticks(list(place), stages["stage"])
    figures.save(figure, path)


def _rows(table: pd.DataFrame) -> Iterator[Any]:
    """Rows as named tuples."""
    return iter(table.itertuples(index=False))


def _stage(row: Any) -> list[str]:
    """The cells of a row of `by_stage`."""
    return [
        str(row.stage),
        f"{row.jobs:,}",
        _sum(row.gpu_hours, row.gpu_known),
        _sum(row.cpu_hours, row.cpu_known),
        _bytes(row.stored_bytes),
        _bytes(row.memory_bytes),
    ]


def _rule(row: Any) -> list[str]:
    """The cells of a row of `by_rule`."""
    return [
        f"{row.rule} {row.what}".strip(),
        f"{row.jobs:,}",
        f"{_short(row.amount)} {row.unit}",
        _hours(row.gpu_hours),
        _hours(row.cpu_hours),
        _bytes(row.stored_bytes),
        _bytes(row.memory_bytes),
    ]


def _hours(hours: float) -> str:
    if pd.isna(hours):
        return UNKNOWN
    return "–" if hours == 0 else _short(hours)


def _sum(hours: float, known: bool) -> str:
    if known:
        return _hours(hours)
    return UNKNOWN if hours == 0 else f"{_short(hours)} + what is {UNKNOWN}"


def _short(number: float) -> str:
    """Three significant digits and no exponent: 1,230,000 as 1.23 M.

    >>> [_short(number) for number in (0.01234, 12, 1234, 25_600_000, 4e17)]
    ['0.0123', '12', '1,234', '25.6 M', '400,000 T']
    """
    for limit, letter in ((1e12, " T"), (1e9, " G"), (1e6, " M")):
        if number >= limit:
            scaled = number / limit
            return (f"{scaled:,.0f}" if scaled >= 100 else f"{scaled:.3g}") + letter
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _bytes(number: float) -> str:
    """Bytes with a decimal prefix; a dash for none or for what is not counted.

    >>> _bytes(2.05e12), _bytes(600e6), _bytes(0.0)
    ('2.05 TB', '600 MB', '–')
    """
    if pd.isna(number) or number == 0:
        return "–"
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {letter}B"
    return f"{number:.0f} B"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"
