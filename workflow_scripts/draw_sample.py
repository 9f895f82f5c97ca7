"""Draw the built-in sample: training pictures, references, or queries with their ground truth."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from copytrace import runtime
from copytrace.errors import InputError
from copytrace.sample import edits, queries, scenes
from copytrace.sample.edits import Picture
from copytrace.sample.jpeg import through_file
from copytrace.sample.queries import Query


def reference(seed: int, references: int, side: int, index: int) -> Picture:
    """Reference number `index` of `references`: one of the photographs or a scene."""
    name = scenes.photograph_positions(seed, references).get(index)
    return scenes.photograph(name, side) if name else scenes.render(scenes.scene(seed, "references", index), side)


def query(seed: int, references: int, side: int, number: int, plan: Query) -> tuple[Picture, dict[str, Any]]:
    """Query `number` and what was done to it; its source is drawn again, not read."""
    rng = runtime.generator(seed, "query", number)
    if plan.source is not None:
        picture = reference(seed, references, side, plan.source)
    elif plan.look_alike_of is not None:
        original = scenes.scene(seed, "references", plan.look_alike_of)
        picture = scenes.render(scenes.look_alike(original, rng), side)
    else:
        picture = scenes.render(scenes.scene(seed, "queries", plan.unrelated or 0), side)
    if plan.kind is None:
        return picture, {}

    def foreign() -> Picture:
        return scenes.render(scenes.draw_scene(rng), side)

    return edits.edit(through_file(picture), plan.kind, rng, foreign)


def draw(args: argparse.Namespace, folder: Path, task: tuple[int, Query | None]) -> dict[str, Any]:
    """Draw and write one picture; returns the details of a query's edits."""
    number, plan = task
    if plan is not None:
        picture, details = query(args.seed, args.references, args.side, number, plan)
        queries.save(picture, folder / f"{queries.query_id(number)}.jpg")
        return details
    if args.role == "training":
        queries.save(
            scenes.render(scenes.scene(args.seed, "training", number), args.side),
            folder / f"T{number:06d}.jpg",
        )
    else:
        queries.save(reference(args.seed, args.references, args.side, number), folder / f"R{number:06d}.jpg")
    return {}


def main() -> None:
    """Read the arguments, draw, write."""
    parser = runtime.Arguments(__doc__)
    parser.add_argument("--role", required=True, choices=("training", "references", "queries"))
    parser.add_argument("--count", type=int, required=True, help="pictures to draw")
    parser.add_argument("--references", type=int, required=True, help="references in the sample, whatever the role")
    parser.add_argument("--side", type=int, default=256, help="longer side in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_output("--output", type=Path, required=True, help="folder to make")
    parser.add_output("--ground-truth", type=Path, help="CSV to write (queries)")
    parser.add_output("--edits", type=Path, help="CSV to write (queries)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse()
    if min(args.count, args.references) < 1 or args.side < 32:
        raise InputError("--count and --references must be at least 1 and --side at least 32.")
    if args.role == "queries" and (args.ground_truth is None or args.edits is None):
        raise InputError("--role queries needs --ground-truth and --edits to know where to write them.")
    plans: list[Query] = []
    if args.role == "queries":
        plans = queries.sample_queries(args.seed, args.count, args.references)
    tasks = list(enumerate(plans or [None] * args.count))
    with (
        queries.whole_directory(args.output) as folder,
        runtime.Throughput("pictures", args.threads, args.count) as done,
    ):
        details = []
        for entry in runtime.in_processes(partial(draw, args, folder), tasks, args.threads):
            details.append(entry)
            done.add()
        if plans:
            queries.write_truth(plans, "R{:06d}".format, details, args.ground_truth, args.edits)


if __name__ == "__main__":
    runtime.run(main)
