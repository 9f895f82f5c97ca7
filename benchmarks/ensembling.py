"""Vote, filters, penalties, merge and final score beside the same in plain pandas and in Python's sets and dicts.

Lists of pairs as a matching writes them, one Parquet file for each model, of three backbones for each family.
All ways read the files and end with the ranked list, which must have the same rows. Our way goes first and alone: its
peak memory is printed, and it must stay below a bound. `--repeats 0` leaves it at that, for sizes at which the
other ways need more memory than there is.
"""

import side_by_side  # first: it sets the threads and finds the library

# isort: split

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from copytrace import ensembling, runtime

BACKBONES = 3
MINIMUM = 2
PARTS = 12
ROWS_PER_QUERY = 10
SIDES = (100, 200)  # smallest part of a family, in turn
PENALTY = 1 / 16  # exact in 32 bits, as the scores are, so that all ways compute the same

SETTINGS = ensembling.Ensembling(
    vote=MINIMUM,
    tile_vote=MINIMUM,
    reference_side=None,
    penalties={"whole": 0, "selective_search": PENALTY},
    free_ranks={},
    tile_penalty=0,
    drop_face_references=False,
    final_score="different_evidence",
    rows_per_query=ROWS_PER_QUERY,
    maximum_rows=None,
)


def main() -> None:
    """Read the arguments, draw the lists, make one of them in all ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", type=int, default=3)
    parser.add_argument("--rows", type=int, default=20_000, help="of each model")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--references", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", type=float, default=8000, help="most that our way may hold, in MB")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = draw(Path(folder), args.families, args.rows, args.queries, args.references)
        parts = Path(folder, "parts.parquet")
        draw_parts(parts, args.queries)
        rows = len(files) * BACKBONES * args.rows
        print(
            f"{len(files) * BACKBONES} models x {args.rows:,} rows, {args.queries:,} queries, "
            f"{args.references:,} references"
        )
        started, before = time.perf_counter(), runtime.peak_memory_mb()
        with_copytrace(files, parts, args.queries)
        seconds, peak = time.perf_counter() - started, runtime.peak_memory_mb()
        print(f"copytrace alone: {seconds:.1f} s, peak memory {peak:,.0f} MB (drawing the lists: {before:,.0f} MB)\n")
        equal = not args.repeats or side_by_side.compare(
            {
                "copytrace": lambda: with_copytrace(files, parts, args.queries),
                "pandas": lambda: with_pandas(files, parts, args.queries),
                "sets and dicts": lambda: with_sets_and_dicts(files, parts, args.queries),
            },
            same_rows,
            rows / 1e3,
            "thousand rows",
            args.repeats,
        )
    sys.exit(not equal or peak > args.memory)


def draw(folder: Path, families: int, rows: int, queries: int, references: int) -> list[list[Path]]:
    """Write each model's list and return the files, family by family.

    A model lists half of the candidates, (query part, reference) with twelve parts for each query, each of them
    once.
    """
    rng = runtime.generator("ensembling")
    candidates = np.unique(rng.integers(0, queries * PARTS * references, 2 * rows))
    query_ids = pd.Series([f"query/Q{number:06d}" for number in range(queries)])
    reference_ids = pd.Series([f"references/R{number:06d}" for number in range(references)])
    files: list[list[Path]] = []
    for family in range(families):
        files.append([])
        for backbone in range(BACKBONES):
            listed = candidates[rng.permutation(len(candidates))[:rows]]
            query, part, reference = np.unravel_index(listed, (queries, PARTS, references))
            table = pd.DataFrame(
                {
                    "model": f"family{family}.backbone{backbone}",
                    "scale": np.int32(256),
                    "query_id": query_ids.take(query).array,
                    "query_part": part.astype(np.int16),
                    "reference_id": reference_ids.take(reference).array,
                    "reference_part": np.int16(0),
                    "score": (np.rint(rng.normal(0, 0.2, len(query)) * 2**20) / 2**20).astype(np.float32),
                }
            )
            files[-1].append(folder / f"{family}.{backbone}.parquet")
            table.to_parquet(files[-1][-1], index=False)
    return files


def draw_parts(path: Path, queries: int) -> None:
    """Write the parts of the queries: the whole, and eleven smaller ones, some too small for some families."""
    side = runtime.generator("ensembling", "parts").integers(50, 400, (queries, PARTS))
    side[:, 0] = 400
    table = pd.DataFrame(
        {
            "image_id": np.repeat([f"query/Q{number:06d}" for number in range(queries)], PARTS),
            "part": np.tile(np.arange(PARTS, dtype=np.int16), queries),
            "kind": np.tile(["whole"] + ["selective_search"] * (PARTS - 1), queries),
            "rank": np.tile(np.r_[0, np.arange(PARTS - 1)], queries),
            **{"x0": 0, "y0": 0, "x1": side.ravel(), "y1": 400},
        }
    )
    table.to_parquet(path, index=False)


def sides_of(families: int) -> dict[str, int]:
    """The smallest part of each family."""
    return {f"family{family}": SIDES[family % len(SIDES)] for family in range(families)}


def with_copytrace(files: list[list[Path]], parts: Path, queries: int) -> pd.DataFrame:
    """The library's functions, as the rules call them."""
    table, sides = ensembling.read_parts(parts), sides_of(len(files))
    evidence = []
    for family in files:
        voted = ensembling.vote(ensembling.read_pairs(family), MINIMUM)
        evidence.append(ensembling.collect_evidence(voted, table, sides, SETTINGS))
    rows = ensembling.stack(evidence)
    del evidence, voted
    return ensembling.cut(ensembling.final_scores(rows, SETTINGS.final_score), ROWS_PER_QUERY, queries)


def with_pandas(files: list[list[Path]], parts: Path, queries: int) -> pd.DataFrame:
    """Grouping and merging of tables whose names are strings."""
    place = ["scale", "query_id", "query_part", "reference_id", "reference_part"]
    table = pd.read_parquet(parts)
    table["side"] = np.minimum(table["x1"] - table["x0"], table["y1"] - table["y0"])
    table["penalty"] = table["kind"].map(SETTINGS.penalties)
    table = table.rename(columns={"image_id": "query_id", "part": "query_part"})
    collected = []
    for family, side in zip(files, sides_of(len(files)).values(), strict=True):
        pairs = pd.concat([pd.read_parquet(path) for path in family])
        backbones = pairs.groupby(place)["model"].nunique().rename("backbones")
        agreed = backbones[backbones >= MINIMUM].reset_index()
        large = table.loc[table["side"] >= side, ["query_id", "query_part", "penalty"]]
        collected.append(pairs.merge(agreed, on=place).merge(large, on=["query_id", "query_part"]))
    rows = pd.concat(collected)
    rows["score"] = rows["score"].astype(np.float64) - rows["penalty"]
    rows = rows.groupby(["model", *place])["score"].max().reset_index()
    best = rows.sort_values("score", ascending=False).groupby(["query_id", "reference_id"]).head(2)
    final = best.groupby(["query_id", "reference_id"])["score"].mean().round(6).reset_index()
    final = final.sort_values(["score", "query_id", "reference_id"], ascending=[False, True, True])
    return final.head(ROWS_PER_QUERY * queries)


def with_sets_and_dicts(files: list[list[Path]], parts: Path, queries: int) -> pd.DataFrame:
    """Row by row, the way the published system goes (D²LV, sections 6.3 to 6.5 of the fact sheet)."""
    table = pd.read_parquet(parts)
    sides = np.minimum(table["x1"] - table["x0"], table["y1"] - table["y0"]).tolist()
    penalties = [SETTINGS.penalties[kind] for kind in table["kind"]]
    described = dict(zip(zip(table["image_id"], table["part"]), zip(sides, penalties)))
    evidence: dict[tuple[str, str], list[float]] = defaultdict(list)
    for family, least in zip(files, sides_of(len(files)).values(), strict=True):
        backbones: dict[tuple, set[str]] = defaultdict(set)
        scores: dict[tuple, float] = {}
        for path in family:
            for model, *place, score in pd.read_parquet(path).itertuples(index=False):
                backbones[tuple(place)].add(model)
                scores[model, *place] = max(score, scores.get((model, *place), -np.inf))
        for (_, *place), score in scores.items():
            side, penalty = described[place[1], place[2]]
            if side >= least and len(backbones[tuple(place)]) >= MINIMUM:
                evidence[place[1], place[3]].append(score - penalty)
    final = []
    for (query, reference), found in evidence.items():
        best = sorted(found)[-2:]
        final.append((query, reference, round(sum(best) / len(best), 6)))
    ranked = sorted(final, key=lambda row: (-row[2], row[0], row[1]))
    return pd.DataFrame(ranked[: ROWS_PER_QUERY * queries], columns=ensembling.FINAL_COLUMNS)


def same_rows(ours: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Equal ids and scores in every row, whatever the columns' types."""
    return list(ours.itertuples(index=False, name=None)) == list(other.itertuples(index=False, name=None))


if __name__ == "__main__":
    main()
