"""Copy retrieval on real photographs with a pretrained network and no training: the figures of docs/results.md.

Takes a folder with `training/` and `references/`, makes queries from some references by the sample's edits and from
some training photographs that are left out of the training, runs `profiles/photos.yaml`, and prints what came out.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "workflow_scripts"))

from copytrace import manifests, runtime  # noqa: E402


def main() -> None:
    """Read the arguments, make the queries, run the workflow, print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path, required=True, help="folder with training/ and references/")
    parser.add_argument("--output", type=Path, required=True, help="folder for queries and results")
    parser.add_argument("--copies", type=int, default=300, help="queries made from references")
    parser.add_argument("--without-source", type=int, default=300, help="queries that no reference is the source of")
    parser.add_argument("--backbones", nargs="+", default=["mobilenetv3"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cores", default="all")
    parser.add_argument("snakemake", nargs="*", help="further arguments for snakemake, after --")
    args = parser.parse_args()
    output = args.output.resolve()
    output.mkdir(parents=True, exist_ok=True)

    images = make_queries(args.photographs.resolve(), output, args.copies, args.without_source, args.seed)
    command = [sys.executable, "-m", "snakemake", "--cores", args.cores, "--quiet", "rules", *args.snakemake]
    command += ["--configfile", "profiles/photos.yaml", "--config", f"results={output / 'results'}"]
    command += [f"images={json.dumps(images)}", f"backbones={json.dumps(args.backbones)}"]
    started = time.monotonic()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(command, check=True, cwd=REPOSITORY, env=os.environ | {"PATH": path})
    print(f"\nsnakemake took {time.monotonic() - started:.0f} s on {os.cpu_count()} cores")

    table = pd.read_csv(output / "results" / "evaluation" / "matching_table.csv")
    print(table.to_string(index=False, float_format="%.3f"))


def make_queries(photographs: Path, output: Path, copies: int, without_source: int, seed: int) -> dict[str, str]:
    """Edited copies of references, and of training photographs that are left out; `images` of the configuration."""
    references, _ = manifests.list_pictures(photographs / "references")
    others, _ = manifests.list_pictures(photographs / "training")
    chosen = runtime.generator(seed, "unrelated photographs").permutation(len(others))
    unrelated, training = others.iloc[chosen[:without_source]], others.iloc[chosen[without_source:]]
    for name, table in (("references", references), ("unrelated", unrelated), ("training", training)):
        manifests.write_table(table.reset_index(drop=True), output / f"{name}.parquet")
    (output / "training.txt").write_text("".join(f"{path}\n" for path in sorted(training.path)))
    edit: list[str | Path] = [sys.executable, REPOSITORY / "workflow_scripts" / "edit_copies.py"]
    edit += ["--manifest", output / "references.parquet", "--foreign", output / "training.parquet"]
    edit += ["--copies", str(copies), "--without-source", str(without_source)]
    edit += ["--unrelated", output / "unrelated.parquet", "--seed", str(seed), "--output", output / "queries"]
    edit += ["--ground-truth", output / "ground_truth.csv", "--edits", output / "edits.csv", "--threads", "2"]
    subprocess.run(edit, check=True)
    return {
        "training": str(output / "training.txt"),
        "references": str(photographs / "references"),
        "queries": str(output / "queries"),
        "ground_truth": str(output / "ground_truth.csv"),
    }


if __name__ == "__main__":
    main()
