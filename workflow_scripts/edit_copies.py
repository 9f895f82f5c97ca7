"""Make edited copies of given pictures, and queries without a source, with their ground truth."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from copytrace import imaging, runtime
from copytrace.errors import InputError
from copytrace.sample import edits, queries
from copytrace.sample.edits import Picture
from copytrace.sample.queries import Query


def read_manifest(path: Path) -> pd.DataFrame:
    """The columns image_id and path of a manifest; InputError if they are missing or it is empty."""
    if not path.is_file():
        raise InputError(f"{path} does not exist: make the manifest first.")
    table = pd.read_parquet(path)
    if not {"image_id", "path"} <= set(table.columns):
        raise InputError(f"{path} is no manifest: it needs the columns image_id and path.")
    if table.empty:
        raise InputError(f"{path} names no pictures.")
    return table[["image_id", "path"]]


def make(seed: int, folder: Path, backgrounds: list[str], mild: float, task: tuple[int, Query, str]) -> dict[str, Any]:
    """Make and write one query from the picture at the task's path; returns the details of its edits."""
    number, plan, path = task
    rng = runtime.generator(seed, "copy", number)
    picture = imaging.load_image(path)
    details: dict[str, Any] = {}

    def foreign() -> Picture:
        others = [name for name in (backgrounds[i] for i in rng.permutation(len(backgrounds))[:2]) if name != path]
        return imaging.load_image(others[0] if others else path)

    if plan.kind is not None:
        picture, details = edits.edit(picture, plan.kind, rng, foreign, mild)
    queries.save(picture, folder / f"{queries.query_id(number)}.jpg")
    return details


def main() -> None:
    """Read the arguments, edit, write."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--manifest", type=Path, required=True, help="pictures to copy (Parquet)")
    parser.add_input("--foreign", type=Path, required=True, help="pictures for collages and backgrounds (Parquet)")
    parser.add_argument("--copies", type=int, required=True)
    parser.add_argument("--without-source", type=int, default=0, help="queries from --unrelated")
    parser.add_input("--unrelated", type=Path, help="pictures that no reference is a copy of (Parquet)")
    parser.add_argument("--mild", type=float, default=0.5, help="share of the edits that get two mild ones on top")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draw", help="name of a draw of its own: other copies than without, for the same seed")
    parser.add_output("--output", type=Path, required=True, help="folder to make")
    parser.add_output("--ground-truth", type=Path, required=True, help="CSV to write")
    parser.add_output("--edits", type=Path, required=True, help="CSV to write")
    parser.add_output("--pairs", type=Path, help="CSV to write: each copy's path and its source's")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse()
    if args.without_source and args.unrelated is None:
        raise InputError("--without-source needs --unrelated, the manifest of the pictures to make them from.")
    sources, backgrounds = read_manifest(args.manifest), read_manifest(args.foreign)
    unrelated = read_manifest(args.unrelated) if args.without_source else sources[:0]
    seed = runtime.derive_seed(args.seed, args.draw) if args.draw else args.seed
    plans = queries.copy_queries(seed, args.copies, len(sources), args.without_source, len(unrelated))
    tasks = []
    for number, plan in enumerate(plans):
        table, row = (unrelated, plan.unrelated) if plan.source is None else (sources, plan.source)
        tasks.append((number, plan, str(table.path.iat[row or 0])))
    with (
        queries.whole_directory(args.output) as folder,
        runtime.Throughput("pictures", args.threads, len(tasks)) as done,
    ):
        work = partial(make, seed, folder, backgrounds.path.tolist(), args.mild)
        details = []
        for entry in runtime.in_processes(work, tasks, args.threads):
            details.append(entry)
            done.add()
        queries.write_truth(plans, lambda row: str(sources.image_id.iat[row]), details, args.ground_truth, args.edits)
    if args.pairs:
        queries.write_pairs(plans, args.output, sources.path.tolist(), args.pairs)


if __name__ == "__main__":
    runtime.run(main)
