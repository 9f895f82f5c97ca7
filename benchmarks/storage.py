"""What shorter numbers in descriptor files do to a finished run's pairs: searched again from rounded vectors.

    python benchmarks/storage.py --results results

For every model and scale: queries, references and the whitening's sample as background are rounded to float16 and to
bf16, searched as the run does, and compared with the search of the vectors as they are stored. Exit status 1 where
float16, which `descriptors.storage` offers, changes micro-AP by more than 0.005 in the mean.
"""

import side_by_side  # first: it sets the threads and finds the library

# isort: split

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch

from copytrace import descriptor_files, matching, metrics

KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as stored": lambda vectors: vectors,
    "float16": lambda vectors: vectors.astype(np.float16).astype(np.float32),
    "bf16": lambda vectors: torch.from_numpy(vectors).bfloat16().float().numpy(),
}


def main() -> None:
    """Read the arguments, search every model and scale in all kinds, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="folder of a finished run with a ground truth")
    parser.add_argument("--neighbours", type=int, default=10)
    parser.add_argument("--weight", type=float, default=1.0)
    parser.add_argument("--pairs-per-query", type=int, default=20)
    args = parser.parse_args()
    truth = pd.read_csv(args.results / "images" / "ground_truth.csv")
    truth = truth[truth.reference_id.notna()].astype(str)
    rows = []
    for unit in sorted((args.results / "descriptors").iterdir()):
        if not (unit / "queries").is_dir() or not (unit / "references").is_dir():
            continue
        files = {role: [str(path) for path in sorted((unit / role).glob("*.h5"))] for role in ("queries", "references")}
        with h5py.File(unit / "sample.h5") as sample:
            searches = [(model, int(scale)) for model in sample if model not in ("image_ids", "parts")
                        for scale in sample[f"{model}/vectors"]]  # fmt: skip
        for model, scale in searches:
            rows += compare(model, scale, files, str(unit / "sample.h5"), truth, args)
    table = pd.DataFrame(rows)
    print(f"{side_by_side.processor()}; {table.model.nunique()} models, {len(table) // len(KINDS)} searches\n")
    print("| | pairs in common | score: largest difference | micro-AP: mean | change: mean | smallest | largest |")
    print("|---|---|---|---|---|---|---|")
    stored = table[table.kind == "as stored"].set_index(["model", "scale"]).micro_ap
    for kind in KINDS:
        some = table[table.kind == kind].set_index(["model", "scale"])
        change = some.micro_ap - stored
        print(
            f"| {kind} | {some.common.mean():.4f} | {some.difference.max():.1e} | {some.micro_ap.mean():.4f} | "
            f"{change.mean():+.5f} | {change.min():+.4f} | {change.max():+.4f} |"
        )
    changed = table[table.kind == "float16"].micro_ap.mean() - stored.mean()
    sys.exit(bool(abs(changed) > 0.005))


def compare(
    model: str, scale: int, files: dict[str, list[str]], sample: str, truth: pd.DataFrame, args: argparse.Namespace
) -> list[dict]:
    """The pairs of one model and scale in every kind, and how far they are from those of the stored vectors."""
    queries, references = (descriptor_files.read_rows(files[role]) for role in ("queries", "references"))
    stored = {
        role: np.concatenate([descriptor_files.read_vectors(path, model, scale) for path in paths])
        for role, paths in (*files.items(), ("sample", [sample]))
    }
    rows: list[dict] = []
    reference: pd.Series | None = None
    for kind, rounded in KINDS.items():
        vectors = {role: rounded(block) for role, block in stored.items()}
        bias = matching.query_bias(vectors["queries"], [vectors["sample"]], args.neighbours, args.weight)
        count = args.pairs_per_query * queries.image_id.nunique()
        pairs = matching.best_pairs(vectors["queries"], bias, partial(list, [vectors["references"]]), count)
        scores = pd.Series(pairs.score, index=pd.MultiIndex.from_arrays([pairs.query, pairs.reference]))
        reference = scores if reference is None else reference
        common = scores.index.intersection(reference.index)
        named = pd.DataFrame(
            {
                "query_id": queries.image_id.to_numpy()[pairs.query],
                "reference_id": references.image_id.to_numpy()[pairs.reference],
                "score": pairs.score,
            }
        )
        best = named.groupby(["query_id", "reference_id"])[["score"]].max().reset_index()
        rows.append(
            {
                "model": model,
                "scale": scale,
                "kind": kind,
                "common": len(common) / len(scores),
                "difference": float((scores[common] - reference[common]).abs().max()),
                "micro_ap": metrics.micro_average_precision(best.score, metrics.mark_hits(best, truth), len(truth)),
            }
        )
    return rows


if __name__ == "__main__":
    main()
