"""Write the bill of a configuration: what a run takes, as CSV, Markdown and a picture; the Markdown is printed too."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from copytrace import bill, bill_tables, configuration, folders, pairs, rates, runtime
from copytrace.errors import InputError
from copytrace.networks.costs import backbone_cost, detector_cost


def main() -> None:
    """Read the arguments, count pictures and work, price it, write."""
    parser = runtime.Arguments(__doc__)
    parser.add_argument("--configuration", required=True, type=json.loads, help="the resolved configuration as JSON")
    parser.add_argument("--execution", required=True, type=json.loads, help="its section `execution` as JSON")
    parser.add_argument("--sources", required=True, type=json.loads, help='JSON {"role": folder, file or number}')
    parser.add_input("--rates", required=True, help="rates file")
    parser.add_input("--rates-schema", required=True)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--table", required=True, help="CSV to write")
    parser.add_output("--page", required=True, type=Path, help="Markdown to write")
    parser.add_output("--figure", required=True, help="PNG to write")
    args = parser.parse()
    runtime.set_threads(args.threads)
    config = args.configuration
    known = rates.read_rates(args.rates, args.rates_schema)
    counted = {role: count(source) for role, source in args.sources.items() if role != "pairs"}
    of_pairs, classes = count_pairs(args.sources.get("pairs"), config)
    pictures = bill.Pictures(counted | of_pairs, pair_classes=classes, **likeness(config, known))
    holding = known.holding_for(config)
    table, track = (
        bill_tables.by_rule([bill.priced(item, holding, known.starts, args.execution["workers"]) for item in work])
        for work in (
            bill.plan(config, pictures, backbone_cost, detector_cost),
            bill.plan_track(config, pictures, backbone_cost, detector_cost),
        )
    )
    page = bill_tables.markdown(table, track, holding, pictures, bill.query_parts(config, pictures))
    with runtime.atomic_output(args.table) as temporary:
        pd.concat([table, track]).to_csv(temporary, index=False, float_format="%.6g")
    bill_tables.draw(table, args.figure)
    with runtime.atomic_output(args.page) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(page)


def count(source: str | int) -> int:
    """How many pictures a folder or a list file names; a number is one already.

    Raises:
        InputError: there is no such folder or list.
    """
    if isinstance(source, int):
        return source
    if Path(source).is_dir():
        return len(folders.picture_files(source)[0])
    try:
        with Path(source).open("rb") as lines:
            return sum(bool(line.strip()) for line in lines)
    except OSError as error:
        raise InputError(f"the folder or list file {source} cannot be read: {error.strerror}") from None


def count_pairs(source: str | int | None, config: configuration.Config) -> tuple[dict[str, int], int]:
    """Pictures in known pairs, as a role, and their classes: of a CSV, or of the sample, whose number is one already.

    Raises:
        InputError: there is no such CSV, or it is no list of pairs.
    """
    if source is None:
        return {}, 0
    if isinstance(source, int):
        return {"pairs": source}, source - config["sample"]["pairs"]
    table = pairs.read(source)
    classes = pairs.class_table(table, set(table.to_numpy().ravel()))
    return {"pairs": len(classes)}, classes["class_id"].nunique()


def likeness(config: configuration.Config, known: rates.RatesFile) -> dict[str, Any]:
    """What the pictures are like: as the configuration says, else as it was measured."""
    measured = dict(known.pictures)
    stated = {key: value for key in ("megapixels", "found_parts") if (value := config["bill"][key]) is not None}
    found = {"found_parts": 0.0} | measured | stated
    if "megapixels" not in found:
        raise InputError("the rates file says nothing of pictures.megapixels: name their mean size in bill.megapixels")
    if "selective_search" in config["parts"]["kinds"] and "found_parts" not in measured | stated:
        raise InputError("the rates file says nothing of pictures.found_parts: name their number in bill.found_parts")
    return found


if __name__ == "__main__":
    runtime.run(main)
