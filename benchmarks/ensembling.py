"""Vote, merge and final score beside the same in plain pandas and in Python's sets and dicts.

Lists of pairs as a matching writes them, one Parquet file for each model, of three backbones for each family.
All ways read the files and end with the ranked list, which must have the same rows.
"""

import side_by_side  # first: it sets the threads and finds the library

# isort: split

import argparse
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from copytrace import ensembling, runtime

BACKBONES = 3
PARTS = 12
MINIMUM = 2
ROWS_PER_QUERY = 10


def main() -> None:
    """Read the arguments, draw the lists, make one of them in all ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", type=int, default=3)
    parser.add_argument("--rows", type=int, default=20_000, help="of each model")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = draw(Path(folder), args.families, args.rows, args.queries)
        print(f"{len(files) * BACKBONES} models x {args.rows:,} rows, {args.queries:,} queries")
        equal = side_by_side.compare(
            {
                "copytrace": lambda: with_copytrace(files, args.queries),
                "pandas": lambda: with_pandas(files, args.queries),
                "sets and dicts": lambda: with_sets_and_dicts(files, args.queries),
            },
            same_rows,
            len(files) * BACKBONES * args.rows / 1e3,
            "thousand rows",
            args.repeats,
        )
    sys.exit(not equal)


def draw(folder: Path, families: int, rows: int, queries: int) -> list[list[Path]]:
    """Write each model's list and return the files, family by family.

    A model lists half of the candidates, (query part, reference) with twelve parts for each query, each of them
    once. There are twenty references for each query, as in the contest.
    """
    rng = runtime.generator("ensembling")
    candidates = np.unique(rng.integers(0, queries * PARTS * 20 * queries, 2 * rows))
    query_ids = pd.Series([f"query/Q{number:06d}" for number in range(queries)])
    reference_ids = pd.Series([f"references/R{number:06d}" for number in range(20 * queries)])
    files: list[list[Path]] = []
    for family in range(families):
        files.append([])
        for backbone in range(BACKBONES):
            listed = candidates[rng.permutation(len(candidates))[:rows]]
            query, part, reference = np.unravel_index(listed, (queries, PARTS, 20 * queries))
            table = pd.DataFrame(
                {
                    "model": f"family{family}.backbone{backbone}",
                    "scale": np.int32(256),
                    "query_id": query_ids.take(query).array,
                    "query_part": part.astype(np.int16),
                    "reference_id": reference_ids.take(reference).array,
                    "reference_part": np.int16(0),
                    "score": rng.normal(0, 0.2, len(query)).astype(np.float32),
                }
            )
            files[-1].append(folder / f"{family}.{backbone}.parquet")
            table.to_parquet(files[-1][-1], index=False)
    return files


def with_copytrace(files: list[list[Path]], queries: int) -> pd.DataFrame:
    """The library's functions, as the rules call them."""
    voted = [ensembling.vote(ensembling.read_pairs(family), MINIMUM) for family in files]
    scored = ensembling.final_scores(ensembling.stack(voted), "different_evidence")
    return ensembling.cut(scored, ROWS_PER_QUERY, queries)


def with_pandas(files: list[list[Path]], queries: int) -> pd.DataFrame:
    """Grouping and merging of tables whose names are strings."""
    place = ["scale", "query_id", "query_part", "reference_id", "reference_part"]
    voted = []
    for family in files:
        pairs = pd.concat([pd.read_parquet(path) for path in family])
        backbones = pairs.groupby(place)["model"].nunique().rename("backbones")
        agreed = backbones[backbones >= MINIMUM].reset_index()
        voted.append(pairs.merge(agreed, on=place))
    rows = pd.concat(voted).groupby(["model", *place])["score"].max().reset_index()
    rows["score"] = rows["score"].astype(np.float64)
    best = rows.sort_values("score", ascending=False).groupby(["query_id", "reference_id"]).head(2)
    final = best.groupby(["query_id", "reference_id"])["score"].mean().round(6).reset_index()
    final = final.sort_values(["score", "query_id", "reference_id"], ascending=[False, True, True])
    return final.head(ROWS_PER_QUERY * queries)


def with_sets_and_dicts(files: list[list[Path]], queries: int) -> pd.DataFrame:
    """Row by row, the way the published system goes (D²LV, sections 6.3 to 6.5 of the fact sheet)."""
    evidence: dict[tuple[str, str], list[float]] = defaultdict(list)
    for family in files:
        backbones: dict[tuple, set[str]] = defaultdict(set)
        scores: dict[tuple, float] = {}
        for path in family:
            for model, *place, score in pd.read_parquet(path).itertuples(index=False):
                backbones[tuple(place)].add(model)
                scores[model, *place] = max(score, scores.get((model, *place), -np.inf))
        for (_, *place), score in scores.items():
            if len(backbones[tuple(place)]) >= MINIMUM:
                evidence[place[1], place[3]].append(score)
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
