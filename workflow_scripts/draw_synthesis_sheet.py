"""Draw some classes of a family's training set: each picture and its edited copies in a row."""

from pathlib import Path

from copytrace import runtime, sheets
from copytrace.synthesis.tarset import TrainingSet


def main() -> None:
    """Read the arguments, draw, write."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--index", required=True, nargs="+", help="index tables; the tar files lie beside them")
    parser.add_argument("--classes", required=True, type=int, help="rows of the sheet")
    parser.add_argument("--copies", required=True, type=int, help="edited copies in each")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True, type=Path, help="JPEG")
    args = parser.parse()
    runtime.set_threads(args.threads)
    training_set = TrainingSet(args.index)
    runtime.log_files("input", "tars", training_set.tars)
    with runtime.Throughput("sheets", args.threads) as meter:
        sheet = sheets.synthesis_sheet(training_set, args.classes, args.copies)
        with runtime.atomic_output(args.output) as temporary:
            sheet.save(temporary, "JPEG", quality=88)
        meter.add()


if __name__ == "__main__":
    runtime.run(main)
