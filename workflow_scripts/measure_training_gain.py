"""Measure each trained model against its own initialisation, on held-out edited copies."""

import argparse
import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from copytrace import ground_truth, metrics, runtime, training_gain
from copytrace.synthesis.classes import class_table

log = logging.getLogger("copytrace")


def main() -> None:
    """Read the arguments, measure both of each pair, write numbers and figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", required=True, type=json.loads, help="files of each trained and untrained model")
    parser.add_argument("--scale", required=True, type=int)
    parser.add_argument("--training", required=True, help="manifest of the training pictures")
    parser.add_argument("--class-stride", type=int, help="leave the pictures trained on out of the background")
    parser.add_argument("--ground-truth", required=True, help="CSV query_id,reference_id of the copies")
    parser.add_argument("--matching", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--samples", required=True, type=int, help="draws of the bootstrap")
    parser.add_argument("--confidence", required=True, type=float)
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--table", required=True, type=Path)
    parser.add_argument("--figure", required=True, type=Path)
    parser.add_argument("--curves-figure", required=True, type=Path)
    args = parser.parse_args()
    runtime.set_threads(args.threads)
    truth = ground_truth.positive_pairs(ground_truth.read(args.ground_truth))
    queries = sorted(truth.query_id.unique())
    excluded: set[str] = set()
    if args.class_stride:
        excluded = set(class_table(pd.read_parquet(args.training), args.class_stride).image_id)

    measured: dict[str, tuple[float, np.ndarray]] = {}
    with runtime.Throughput("models", args.threads) as meter:
        for model in [pair[which] for pair in args.models for which in ("untrained", "trained")]:
            if model["name"] not in measured:
                matches = training_gain.whole_picture_matches(model, args.scale, excluded, args.matching)
                measured[model["name"]] = training_gain.average_precisions(
                    matches, truth, queries, args.samples, args.seed
                )
                meter.add()
    rows, gains = [], []
    for pair in args.models:
        before, after = measured[pair["untrained"]["name"]], measured[pair["trained"]["name"]]
        rows.append(
            {
                "model": pair["trained"]["name"],
                "untrained": before[0],
                "trained": after[0],
                "gain": after[0] - before[0],
            }
        )
        gains.append(after[1] - before[1])
    table = pd.DataFrame(rows)
    summary = {
        "copies": len(truth),
        "models": len(table),
        "improved": int((table.gain > 0).sum()),
        "mean_untrained": float(table.untrained.mean()),
        "mean_trained": float(table.trained.mean()),
        "mean_gain": float(table.gain.mean()),
        "mean_gain_interval": metrics.interval(np.mean(gains, axis=0), args.confidence),
        "confidence": args.confidence,
        "rows": rows,
    }
    with runtime.atomic_output(args.output) as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n")
    with runtime.atomic_output(args.table) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6f")
    training_gain.draw_gains(table, args.figure)
    curves = {pair["trained"]["name"]: pd.read_csv(pair["curve"]) for pair in args.models}
    training_gain.draw_curves(curves, args.curves_figure)
    for row in rows:
        log.info("%-28s untrained %.3f  trained %.3f  %+.3f", *row.values())
    low, high = summary["mean_gain_interval"]
    log.info(
        "%d of %d models gain; in the mean %+.3f [%+.3f, %+.3f] on %d held-out copies",
        summary["improved"], len(table), summary["mean_gain"], low, high, len(truth),
    )  # fmt: skip


if __name__ == "__main__":
    runtime.run(main)
