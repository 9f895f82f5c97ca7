"""Tables the tiles of all references: grids, centre and thirds, from the manifest's sizes alone."""

import json

import pandas as pd

from copytrace import parts, runtime


def main() -> None:
    """Read the manifest, lay out the tiles, write one table."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--references", required=True, help="manifest of the references")
    parser.add_argument("--tiles", required=True, type=json.loads, help="the section of that name")
    parser.add_output("--output", required=True)
    args = parser.parse()
    runtime.set_threads(1)
    kinds = args.tiles["kinds"]
    parts.check_kinds(kinds, parts.REFERENCE_LAYOUTS, "tiles.kinds")
    references = pd.read_parquet(args.references)

    with runtime.Throughput("tiles", threads=1) as done:
        tiles = parts.reference_tiles(references["width"].to_numpy(), references["height"].to_numpy(), kinds)
        table = parts.parts_table([tiles], references["image_id"], kinds)
        with runtime.atomic_output(args.output) as temporary:
            table.to_parquet(temporary, index=False)
        done.add(len(table))


if __name__ == "__main__":
    runtime.run(main)
