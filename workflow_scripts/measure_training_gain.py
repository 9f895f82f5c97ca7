"""Measure each trained model against its own initialisation, on held-out edited copies."""

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from copytrace import ground_truth, metrics, runtime, training_gain
from copytrace.synthesis.classes import class_ids

log = logging.getLogger("copytrace")


def main() -> None:
    """Read the arguments, measure both of each pair, write numbers and a figure."""
    parser = runtime.Arguments(__doc__)
    parser.add_argument("--descriptors", required=True, type=Path, help="folder of the descriptor files")
    parser.add_argument(
        "--shards", required=True, type=json.loads, help='JSON {"role": descriptor files, 0: the sample}'
    )
    parser.add_argument("--pairs", required=True, type=json.loads, help='JSON {"trained model": "untrained model"}')
    parser.add_argument("--units", required=True, type=json.loads, help='JSON {"model": "unit that described it"}')
    parser.add_argument("--scale", required=True, type=int)
    parser.add_input("--training", required=True, help="manifest of the training pictures")
    parser.add_input("--faces", help="faces of the training pictures, where some of them are classes")
    parser.add_argument("--class-stride", type=int, help="leave the pictures trained on out of the background")
    parser.add_input("--ground-truth", required=True, help="CSV query_id,reference_id of the copies")
    parser.add_argument("--matching", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--samples", required=True, type=int, help="draws of the bootstrap")
    parser.add_argument("--confidence", required=True, type=float)
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True, type=Path)
    parser.add_output("--table", required=True, type=Path)
    parser.add_output("--figure", required=True, type=Path)
    args = parser.parse()
    runtime.set_threads(args.threads)
    truth = ground_truth.positive_pairs(ground_truth.read(args.ground_truth))
    queries = sorted(truth.query_id.unique())
    excluded = class_ids(args.training, args.class_stride, args.faces)

    files = {
        model: descriptor_files_of(args.descriptors / args.units[model], args.shards)
        for model in sorted({*args.pairs, *args.pairs.values()})
    }
    named = {path for roles in files.values() for paths in roles.values() for path in paths}
    runtime.log_files("input", "descriptors", sorted(named))
    measured: dict[str, tuple[float, np.ndarray]] = {}
    with runtime.Throughput("models", args.threads, total=len(files)) as meter:
        for model, roles in files.items():
            matches = training_gain.whole_picture_matches(model, roles, args.scale, excluded, args.matching)
            measured[model] = training_gain.average_precisions(matches, truth, queries, args.samples, args.seed)
            meter.add()
    rows, gains = [], []
    for model, untrained in args.pairs.items():
        before, after = measured[untrained], measured[model]
        rows.append({"model": model, "untrained": before[0], "trained": after[0], "gain": after[0] - before[0]})
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
    for row in rows:
        log.info("%-28s untrained %.3f  trained %.3f  %+.3f", *row.values())
    low, high = summary["mean_gain_interval"]
    log.info(
        "%d of %d models gain; in the mean %+.3f [%+.3f, %+.3f] on %d held-out copies",
        summary["improved"], len(table), summary["mean_gain"], low, high, len(truth),
    )  # fmt: skip


def descriptor_files_of(folder: Path, shards: dict[str, int]) -> dict[str, list[str]]:
    """The descriptor files of a unit by role; with no shards of a role, those of the whitening's sample."""
    return {
        role: [str(folder / role / f"{shard}-of-{count}.h5") for shard in range(count)] or [str(folder / "sample.h5")]
        for role, count in shards.items()
    }


if __name__ == "__main__":
    runtime.run(main)
