"""Where a run's results come from, as one HTML page: versions, machine, configuration, weights, run times."""

from __future__ import annotations

import hashlib
import html
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from copytrace import provenance
from copytrace.errors import InputError

REJECTED_SHOWN = 20
CODE = ("Snakefile", "rules/*.smk", "schemas/*.yaml", "envs/*.yaml", "workflow_scripts/**/*.py")

STYLE = """
body { font: 15px/1.45 sans-serif; color: #222; background: white }
body { max-width: 1120px; margin: 1.5em auto; padding: 0 1em }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin: 1.8em 0 0.4em }
table { border-collapse: collapse } th { text-align: left; border-bottom: 2px solid #999 }
th, td { padding: 0.2em 1em 0.2em 0; vertical-align: top } td { border-bottom: 1px solid #ddd }
td.number, th.number { text-align: right }
code, pre { font: 12px/1.4 monospace } td code { white-space: pre }
pre { background: #f4f4f4; padding: 0.8em; white-space: pre-wrap; overflow-wrap: anywhere }
"""


def versions(project: Path, snakemake: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Name and version of Python, copytrace, Snakemake, FAISS and what `project` (pyproject.toml) depends on.

    And the names of packages that this environment lacks, for each rule may have an environment of its own.
    """
    about = tomllib.loads(project.read_text())["project"]
    rows = [("Python", platform.python_version()), (about["name"], about["version"]), ("snakemake", snakemake)]
    names = {re.split(r"[^\w.-]", requirement)[0] for requirement in about["dependencies"]} - {"snakemake"}
    lacking = []
    for name in sorted({*names, "faiss-cpu", "faiss-gpu"}):
        try:
            rows.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            lacking.append(name)
    return rows, lacking


def machine() -> list[tuple[str, str]]:
    """The machine that this process runs on: system, processor, graphics cards."""
    described = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.+)$", described.read_text(), re.M) if described.is_file() else []
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("processor", f"{names[0] if names else platform.processor() or 'unknown'}, {usable} usable"),
        ("graphics cards", ", ".join(_graphics_cards()) or "none"),
    ]


def _graphics_cards() -> list[str]:
    """Name and driver of each NVIDIA card, as its own program tells them."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    question = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(question, capture_output=True, text=True, timeout=30)
    except subprocess.TimeoutExpired:
        return []
    return [line.replace(", ", ", driver ") for line in answer.stdout.splitlines()] if answer.returncode == 0 else []


def tree_digest(root: Path) -> str:
    """SHA-256 of the workflow's code below `root`, names and bytes in order of the names; no git is needed."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in CODE for path in root.glob(pattern)}):
        digest.update(f"{path.relative_to(root).as_posix()} {provenance.file_digest(path)}\n".encode())
    return digest.hexdigest()


def weights_header(path: Path) -> dict[str, object]:
    """What made the weights, as `networks.weights.save_weights` wrote it into the file; no torch is needed.

    The format: eight bytes, the length n of what follows, little-endian; n bytes of JSON, whose key
    `__metadata__` maps strings to strings; the tensors.

    Raises:
        InputError: the file is no safetensors file with such a header.
    """
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        try:
            if length > path.stat().st_size:
                raise ValueError("its header is longer than the file")
            return json.loads(json.loads(stream.read(length))["__metadata__"]["copytrace"])
        except (ValueError, KeyError, TypeError) as broken:
            raise InputError(f"{path} is no weights file of copytrace ({broken}): make it again.") from None


def run_times(folder: Path, threads: Mapping[str, int]) -> pd.DataFrame:
    """Benchmarks per rule: `rule, threads, jobs, total, longest, processors, memory`, the longest total first.

    `folder` has a file RULE.tsv, or a folder RULE with a file per job, as Snakemake writes them. `threads`: per
    rule; another rule's files are left out. `total` and `longest` in seconds; `processors`: processor time over
    time; `memory`: the largest resident size in MB. The last two are NaN where all jobs were too short to be
    measured.
    """
    tables = [pd.DataFrame(columns=["rule", "s", "max_rss", "cpu_time"])]
    for path in sorted(folder.rglob("*.tsv")):
        rule = path.relative_to(folder).parts[0].removesuffix(".tsv")
        if rule in threads:
            tables.append(pd.read_csv(path, sep="\t", na_values=["-"]).assign(rule=rule))
    jobs = pd.concat(tables, ignore_index=True).astype({"s": float, "max_rss": float, "cpu_time": float})
    rules = jobs.groupby("rule")
    table = rules.agg(jobs=("s", "size"), total=("s", "sum"), longest=("s", "max"), memory=("max_rss", "max"))
    table["processors"] = rules["cpu_time"].sum(min_count=1) / table["total"]
    table["threads"] = [threads[rule] for rule in table.index]
    table = table.sort_values("total", ascending=False, kind="stable").reset_index()
    return table[["rule", "threads", "jobs", "total", "longest", "processors", "memory"]]


def made_by(header: Mapping[str, object]) -> str:
    """A weights file's header in one line, without what the file's name says and what no person can use."""
    shown = {}
    for key, value in header.items():
        if key == "pretrained" and isinstance(value, Mapping):
            shown[key] = value.get("backbone")  # a file with a line of its own
        elif isinstance(value, Mapping):
            shown |= {f"{key}.{inner}": content for inner, content in value.items()}
        elif key not in ("kind", "model", "backbone", "run"):
            shown[key] = value
    return ", ".join(f"{key} {value}" for key, value in shown.items())


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss, rounded.

    >>> clock(3725.4)
    '1:02:05'
    """
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"


def page(
    configuration: str,
    snakemake: str,
    execution: Mapping[str, object],
    seeds: Mapping[str, int],
    code: Path,
    weights: Iterable[Path],
    times: pd.DataFrame,
    rejected: pd.DataFrame,
) -> str:
    """The page as HTML that needs no other file.

    Args:
        configuration: the resolved configuration as YAML, without its section `execution`.
        snakemake: version of the Snakemake that ran the workflow.
        execution: that section.
        seeds: seeds by the name of their key.
        code: the folder of Snakefile, rules, scripts and pyproject.toml.
        weights: safetensors files of the run, each with a header of `save_weights`.
        times: see `run_times`.
        rejected: columns `role, path, reason`.

    Raises:
        InputError: a weights file has no such header.
    """
    files = [
        (
            f"{path.parent.name}/{path.name}\n{provenance.file_digest(path)}",
            f"{path.stat().st_size / 1e6:.1f}",
            made_by(weights_header(path)),
        )
        for path in sorted(weights)
    ]
    installed, lacking = versions(code / "pyproject.toml", snakemake)
    total = f"{clock(times['total'].sum())} of {int(times['jobs'].sum())} jobs"
    count = len(rejected)
    shown = f"; the first {REJECTED_SHOWN}" if count > REJECTED_SHOWN else ""
    sections = [
        "<h1>Where these results come from</h1>",
        "<p>Made by the workflow itself when all results were there. Versions and machine are those of the job that "
        "wrote this page; on a cluster other jobs may have run elsewhere.</p>",
        "<h2>Versions</h2>",
        _table(["package", "version"], installed),
        f"<p>Not in the environment of that job: {html.escape(', '.join(lacking))}.</p>" if lacking else "",
        f"<p>SHA-256 of the workflow's code: <code>{tree_digest(code)}</code></p>",
        "<h2>Machine</h2>",
        _table(["", ""], machine()),
        "<h2>Seeds</h2>",
        "<p>Every random draw comes from SHA-256 of one of these numbers and of what is drawn, so the number of "
        "shards, workers or jobs at once changes nothing.</p>",
        _table(["key", "seed"], list(seeds.items())),
        "<h2>Weights</h2>",
        _table(["file and SHA-256", "MB", "made by"], files, numbers=[1], code=[0]),
        f"<h2>Run times: {total}</h2>",
        "<p>Summed over the jobs of a rule: jobs ran beside each other, so the run took less time than that. Memory is "
        "the largest of one job. Read from the folder of benchmarks: jobs of an earlier run with other settings "
        "count too until that folder is emptied.</p>",
        _table(
            ["rule", "jobs", "threads", "total", "longest job", "processors in use", "peak memory"],
            [_times_row(row) for _, row in times.iterrows()],
            numbers=range(1, 7),
        ),
        f"<h2>Rejected pictures: {count}{shown}</h2>",
        _table(["role", "file", "reason"], rejected.head(REJECTED_SHOWN).itertuples(index=False)) if count else "",
        "<h2>Configuration</h2>",
        "<p>As this run used it: <code>config.yaml</code> with everything that was laid over it.</p>",
        f"<pre>{html.escape(configuration)}</pre>",
        "<p>How the work was carried out, which changes no result:</p>",
        _table(["execution", ""], list(execution.items())),
    ]
    head = f'<meta charset="utf-8"><title>Provenance</title><style>{STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(sections) + "\n</body></html>\n"


def _times_row(row: pd.Series) -> list[str]:
    def known(value: float, text: str) -> str:
        return "–" if pd.isna(value) else text.format(value)

    return [
        str(row["rule"]),
        str(row["jobs"]),
        str(row["threads"]),
        clock(row["total"]),
        f"{row['longest']:.1f} s",
        known(row["processors"], "{:.2f}"),
        known(row["memory"], "{:,.0f} MB"),
    ]


def _table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[int] = (), code: Sequence[int] = ()
) -> str:
    """An HTML table, its cells escaped; `numbers` are columns set to the right, `code` columns in a fixed width."""
    kinds = [' class="number"' if column in numbers else "" for column in range(len(headings))]
    lines = ["".join(f"<th{kind}>{html.escape(text)}</th>" for kind, text in zip(kinds, headings))]
    for row in rows:
        texts = [html.escape(str(value)) for value in row]
        texts = [f"<code>{text}</code>" if column in code else text for column, text in enumerate(texts)]
        lines.append("".join(f"<td{kind}>{text}</td>" for kind, text in zip(kinds, texts)))
    return "<table>\n" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "\n</table>"
