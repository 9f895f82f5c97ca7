"""Draw the graphs of docs/graph.md with Snakemake and Graphviz: run `make graphs` after a change of rules."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
PAPER = REPOSITORY / "profiles" / "paper.yaml"

# Picture: what Snakemake is asked for, and the overlay.
GRAPHS: dict[str, tuple[list[str], Path | None]] = {
    "rulegraph": (["--rulegraph"], None),
    "rulegraph_paper": (["--rulegraph"], PAPER),
    "dag": (["--dag"], None),
    "dag_family": (["results/ensembling/baseline_CC.parquet", "--dag"], None),
}


def dot(name: str) -> str:
    """The graph of that name in the language of Graphviz, as of a run that has not begun."""
    arguments, overlay = GRAPHS[name]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "snakemake", *arguments, "--snakefile", str(REPOSITORY / "Snakefile")]
        command += ["--directory", folder, "--quiet", "all"]
        Path(folder, "config.yaml").write_bytes((REPOSITORY / "config.yaml").read_bytes())
        if overlay:
            command += ["--configfile", str(overlay), str(pictures(Path(folder)))]
        stable = os.environ | {"PYTHONHASHSEED": "0"}  # Snakemake numbers the boxes in the order of a set
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=stable).stdout


def pictures(folder: Path) -> Path:
    """An overlay that names pictures of a user: a list of one picture for every role, a ground truth, and pairs."""
    roles = ("training", "references", "queries", "backgrounds")
    for role in roles:
        (folder / f"{role}.txt").write_text(f"/pictures/{role}.jpg\n")
    (folder / "truth.csv").write_text("query_id,reference_id\n")
    (folder / "pairs.csv").write_text("query,reference\n")
    overlay = folder / "pictures.yaml"
    images = {role: str(folder / f"{role}.txt") for role in roles}
    images |= {"ground_truth": str(folder / "truth.csv"), "training_pairs": str(folder / "pairs.csv")}
    overlay.write_text(yaml.safe_dump({"images": images}))
    return overlay


def main() -> None:
    """Draw every graph as docs/NAME.svg."""
    for name in GRAPHS:
        drawn = subprocess.run(["dot", "-Tsvg"], input=dot(name), check=True, stdout=subprocess.PIPE, text=True).stdout
        (REPOSITORY / "docs" / f"{name}.svg").write_text(drawn)


if __name__ == "__main__":
    main()
