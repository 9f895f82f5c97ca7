"""The matching of one model at a share of the paper's size: the rules' scripts on files of random descriptors.

Query parts against references, and whole queries against their tiles, each by one job and by several: the pairs must
be the same. Printed beside each job is the memory that it took, and the formula by which `snakemake bill` states it;
the exit status is 1 where a job took more than that and what a process takes at its start, or where pairs differ.

    python benchmarks/matching_at_size.py --share 0.01 --folder DIR

The share holds for each side, so that a hundredth of both is a ten-thousandth of the similarities.
"""

import side_by_side  # first: it sets the threads and finds the library

# isort: split

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from copytrace import bill, descriptor_files, runtime
from copytrace.sharding import shard_bounds, shard_of

# The paper's: query parts, queries, training pictures and references, tiles (D²LV sheet, 1.2 and 1.3).
PARTS, QUERIES, PICTURES, TILES = 1_450_000, 50_000, 1_000_000, 19_000_000
PAIRS_PER_QUERY, DIMENSIONS, FILES = 20, 1500, 20
MODEL, SCALE = "family.backbone", 256
SCRIPTS = Path(__file__).resolve().parents[1] / "workflow_scripts"

# Python with NumPy, pandas, FAISS and torch, before they have any data.
START_MB = 450


def main() -> None:
    """Read the arguments, draw the files, match them, print a table of jobs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.01, help="of the paper's rows on each side")
    parser.add_argument("--shards", type=int, default=5, help="jobs of each search, beside a single one")
    parser.add_argument("--storage", choices=["float32", "float16"], default="float16")
    parser.add_argument("--dimensions", type=int, default=DIMENSIONS)
    parser.add_argument("--folder", type=Path, required=True, help="where the files go; at 0.01 they take 2 GB")
    args = parser.parse_args()
    parts, queries, pictures, tiles = (max(FILES, round(n * args.share)) for n in (PARTS, QUERIES, PICTURES, TILES))
    print(
        f"{side_by_side.processor()}\n{parts:,} parts of {queries:,} queries, {pictures:,} training pictures and as "
        f"many references, {tiles:,} tiles; {args.dimensions} dimensions in {args.storage}\n"
    )
    folder = args.folder
    files = {
        "queries": draw(folder / "queries", parts, args, picture=lambda row: row * queries // parts),
        "training": draw(folder / "training", pictures, args),
        "references": draw(folder / "references", pictures, args),
        "tiles": draw(folder / "tiles", tiles, args, picture=lambda row: row * pictures // tiles),
    }
    ids = [f"training{row:07d}" for row in range(pictures)]
    pd.DataFrame({"image_id": ids, "path": ""}).to_parquet(folder / "training.parquet")
    kept = PAIRS_PER_QUERY * queries
    print("| job | jobs | seconds, the longest | memory, the most | by the formula and the start | as many as kept |")
    print("|---|---|---|---|---|---|")
    fine = True
    for others, whole in (("references", False), ("tiles", True)):
        found = []
        for shards in (1, args.shards):
            jobs = run(files, others, whole, shards, folder)
            found.append(pd.read_parquet(folder / "pairs.parquet"))
            vectors = {
                "normalise_queries": (-(-parts // shards), pictures, 0),
                "match_parts": (queries if whole else parts, tiles if whole else pictures, kept),
            }
            for script, (seconds, megabytes) in jobs.items():
                if script in vectors:
                    stated = bill.search_memory(*vectors[script], args.dimensions, parts)
                else:
                    stated = bill.merge_memory(kept, parts + (tiles if whole else pictures))
                bound = stated / 1e6 + START_MB
                number = shards if script in vectors else 1
                fine &= megabytes <= bound
                print(
                    f"| {script}, {others} | {number} | {seconds:.1f} | {megabytes:,.0f} MB "
                    f"| {bound:,.0f} MB | {len(found[-1]) == kept} |",
                    flush=True,
                )
        same = same_pairs(*found)
        print(f"| **{others}, 1 and {args.shards} jobs** | | | | | pairs {'equal' if same else 'DIFFERENT'} |")
        fine &= same
    sys.exit(not fine)


def same_pairs(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Equal scores to 1e-5, and equal pairs but for those within 1e-5 of the cut, where rounding decides."""
    both = one.merge(other, on=[name for name in one if name != "score"], how="outer", suffixes=("", "_of_other"))
    scores = both[["score", "score_of_other"]]
    close = (scores.score - scores.score_of_other).abs() <= 1e-5
    at_the_cut = scores.isna().any(axis=1) & (scores.max(axis=1) <= one.score.min() + 1e-5)
    return bool((close | at_the_cut).all())


def draw(folder: Path, rows: int, args: argparse.Namespace, picture=lambda row: row) -> list[str]:
    """Descriptor files of random unit vectors; `picture` says which picture each row is a part of."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(FILES):
        start, stop = shard_bounds(rows, number, FILES)
        pictures = picture(np.arange(start, stop))
        first = np.searchsorted(pictures, pictures)  # where the picture's rows begin in this file
        table = pd.DataFrame(
            {
                "image_id": [f"{folder.name}{name:07d}" for name in pictures],
                "part": np.arange(len(pictures)) - first,
            }
        )
        vectors = runtime.generator("matching at size", folder.name, number).normal(size=(len(table), args.dimensions))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        paths.append(str(folder / f"{number}-of-{FILES}.h5"))
        descriptor_files.write_descriptors(
            paths[-1], table, {(MODEL, SCALE): vectors}, {MODEL: {}}, storage=args.storage
        )
    return paths


def run(
    files: dict[str, list[str]], others: str, whole: bool, shards: int, folder: Path
) -> dict[str, tuple[float, float]]:
    """Run the jobs of one search; by script the longest job's seconds and the most memory of one, in MB."""
    pairs = [f"--pairs-per-query={PAIRS_PER_QUERY}", *(["--whole-queries"] if whole else [])]
    queries = ["--queries", *files["queries"]]
    background = ["--background", *files["training"], f"--training={folder / 'training.parquet'}"]
    settings = '--matching={"neighbours": 10, "weight": 2.0}'
    taken: dict[str, list[tuple[float, float]]] = {}

    def job(script: str, output: str, *arguments: str) -> str:
        path = str(folder / output)
        common = [f"--models={MODEL}", f"--scales={SCALE}", f"--threads={side_by_side.THREADS}", f"--output={path}"]
        command = [sys.executable, str(SCRIPTS / f"{script}.py"), *arguments, *common]
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        (megabytes,) = re.findall(r"peak memory (\d+) MB", done.stderr)
        taken.setdefault(script, []).append((time.perf_counter() - started, float(megabytes)))
        return path

    normalisation = [
        job("normalise_queries", f"{i}.h5", "--queries", *shard_of(files["queries"], i, shards), *background, settings)
        for i in range(shards)
    ]
    subtracted = ["--normalisation", *normalisation]
    partial = [
        job("match_parts", f"{i}.parquet", *queries, *subtracted, "--references", *some, *pairs)
        for i, some in enumerate(shard_of(files[others], i, shards) for i in range(shards))
    ]
    job("merge_pairs", "pairs.parquet", "--pairs", *partial, *queries, "--references", *files[others], *pairs)
    return {script: (max(s for s, _ in jobs), max(m for _, m in jobs)) for script, jobs in taken.items()}


if __name__ == "__main__":
    main()
