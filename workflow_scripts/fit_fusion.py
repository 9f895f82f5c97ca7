"""Fit the trees that make one probability of all that was measured of a pair, and set their decision."""

from pathlib import Path

import pandas as pd

from copytrace import runtime
from copytrace.verification import calibration, fusion
from copytrace.verification.reliability import draw_reliability, reliability_table


def main() -> None:
    """Read the arguments, fit, write the trees and how reliable their probabilities are."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--pairs", required=True, nargs="+", help="tables of measured pairs, of all queries")
    parser.add_input("--truth", required=True, help="query_id, reference_id, role: copy, negative or look-alike")
    parser.add_argument("--precision", type=float, default=0.95, help="to aim at with the decision; others get less")
    parser.add_argument("--any-network", action="store_true", help="fit for other networks' global scores, and none")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_output("--output", required=True, help="the trees, JSON")
    parser.add_output("--reliability", required=True, help="CSV: predicted and observed shares, held-out queries")
    parser.add_output("--figure", required=True, type=Path, help="diagram of that for copies and negatives, PNG")
    args = parser.parse()
    runtime.set_threads(args.threads)
    pairs = pd.concat([pd.read_parquet(path) for path in args.pairs], ignore_index=True)
    truth = pd.read_parquet(args.truth)
    with runtime.Throughput("pairs", args.threads) as done:
        fitted = calibration.fit(calibration.label(pairs, truth), args.precision, args.any_network)
        done.add(len(fitted.held_out))
    fusion.write_fusion(args.output, fitted.fusion)
    held_out = fitted.held_out
    plain = held_out[held_out.role != "look-alike"]
    figures = {"copies and negatives": plain, "look-alikes, too": held_out}
    tables = {
        name: reliability_table(rows.probability.to_numpy(), rows["copy"].to_numpy(bool))
        for name, rows in figures.items()
    }
    table = pd.concat([table.assign(queries=name) for name, table in tables.items()])
    with runtime.atomic_output(args.reliability) as temporary:
        table.to_csv(temporary, index=False, float_format="%.4f")
    draw_reliability(tables["copies and negatives"], args.figure)
    for name, rows in figures.items():
        called = rows[rows.probability >= fitted.fusion.decision]
        runtime.log.info(
            "%s, held out: from a probability of %.3f on %d of %d copies among the candidates, precision %.3f",
            name, fitted.fusion.decision, called["copy"].sum(), rows["copy"].sum(), called["copy"].mean(),
        )  # fmt: skip


if __name__ == "__main__":
    runtime.run(main)
