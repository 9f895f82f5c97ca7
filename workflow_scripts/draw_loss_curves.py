"""Draw the loss of trainings, or of pretrainings, over their steps."""

from pathlib import Path

import pandas as pd

from copytrace import loss_curves, runtime


def main() -> None:
    """Read the arguments and the curves, draw."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--curves", required=True, nargs="+", type=Path, help="MODEL.curve.csv: step and losses")
    parser.add_argument("--loss", required=True, help="the column to draw")
    parser.add_argument("--label", required=True, help="its name on the axis")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True, type=Path, help="PNG")
    args = parser.parse()
    runtime.set_threads(args.threads)
    with runtime.Throughput("curves", args.threads) as meter:
        curves = {path.name.removesuffix(".curve.csv"): pd.read_csv(path) for path in args.curves}
        loss_curves.draw(curves, args.loss, args.label, args.output)
        meter.add(len(curves))


if __name__ == "__main__":
    runtime.run(main)
