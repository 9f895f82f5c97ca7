"""From many models' lists of pairs to one ranked list (D²LV, sections 6.3 to 6.5 of the fact sheet).

Ids may be long strings and tables long, so ids are categoricals whose categories are sorted; every grouping
and sorting below works on their integer codes, and there is no loop over rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from copytrace.errors import InputError
from copytrace.runtime import atomic_output
from copytrace.tables import read_footer

NAMES = ["model", "query_id", "reference_id"]
COLUMNS = ["model", "scale", "query_id", "query_part", "reference_id", "reference_part", "score"]
FINAL_COLUMNS = ["query_id", "reference_id", "score"]

# Rows that are scored at a time: few enough for their sort to stay in a processor's cache.
BLOCK = 1_000_000

Rule = Literal["different_evidence", "distinct_values"]


@dataclass(frozen=True)
class Ensembling:
    """The configuration's section `ensembling`; `config.yaml` explains the keys."""

    vote: int
    tile_vote: int
    reference_side: float | None
    penalties: Mapping[str, float]
    free_ranks: Mapping[str, int]
    tile_penalty: float
    drop_face_references: bool
    final_score: Rule
    rows_per_query: float
    maximum_rows: int | None

    @classmethod
    def from_json(cls, text: str) -> Ensembling:
        """The section as a script gets it: one JSON object."""
        try:
            section = cls(**json.loads(text))
        except (TypeError, ValueError) as mistake:
            raise InputError(f"--ensembling is not the section `ensembling` as JSON: {mistake}.") from None
        if section.final_score not in ("different_evidence", "distinct_values"):
            raise InputError(
                f"ensembling.final_score is {section.final_score}: take different_evidence or distinct_values."
            )
        return section


# --------------------------------------------------------------------------------------------------- tables


def read_pairs(paths: Sequence[str | Path], families: Sequence[str] | None = None) -> pd.DataFrame:
    """Pairs tables as one, names as categoricals with sorted categories; only models of `families`, if given.

    Parquet's own dictionaries are kept while reading, so a name of 240 characters costs a row four bytes.

    Raises:
        InputError: a file lacks a column of the pairs table.
    """
    tables = []
    for path in paths:
        missing = set(COLUMNS) - set(read_footer(path).schema.names)
        if missing:
            raise InputError(f"{path} is no pairs table: it lacks {', '.join(sorted(missing))}.")
        tables.append(pq.read_table(path, columns=COLUMNS, read_dictionary=NAMES))
    pairs = _under_one_another([{name: table[name] for name in COLUMNS} for table in tables])
    if families is not None:
        wanted = np.isin(family_names(pairs["model"].cat.categories), list(families))
        pairs = pairs if wanted.all() else pairs[wanted[_codes(pairs, "model")]].reset_index(drop=True)
    return _without_idle_models(pairs)


def read_parts(path: str | Path) -> pd.DataFrame:
    """The parts of the queries, their pictures as categories: they are looked up for every table of pairs."""
    return pd.read_parquet(path).astype({"image_id": "category"})


def write_pairs(path: str | Path, pairs: pd.DataFrame) -> None:
    """Write a pairs table as Parquet, whole or not at all."""
    with atomic_output(path) as temporary:
        pairs[COLUMNS].to_parquet(temporary, index=False)


def stack(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables of the same columns under one another; names share sorted categories, and every model has rows."""
    names = [name for name in tables[0].columns if name in NAMES]
    stacked = _under_one_another(
        [{**table, **{name: pa.chunked_array([pa.array(table[name].array)]) for name in names}} for table in tables]
    )
    return _without_idle_models(stacked) if "model" in stacked else stacked


def _without_idle_models(pairs: pd.DataFrame) -> pd.DataFrame:
    """The same rows; no category is a model without rows."""
    rows = np.bincount(_codes(pairs, "model"), minlength=len(pairs["model"].cat.categories))
    return pairs if rows.all() else pairs.assign(model=pairs["model"].cat.remove_unused_categories())


def _under_one_another(tables: Sequence[Mapping[str, pa.ChunkedArray | pd.Series]]) -> pd.DataFrame:
    """Columns of the same names under one another; those of `NAMES` are Arrow's dictionaries."""
    return pd.DataFrame(
        {
            name: _categorical([table[name] for table in tables])
            if name in NAMES
            else np.concatenate([table[name].to_numpy() for table in tables])
            for name in tables[0]
        }
    )


def _categorical(columns: Sequence[pa.ChunkedArray]) -> pd.Categorical[str]:
    """Dictionary columns under one another as one categorical; its categories are sorted."""
    names = pa.dictionary(pa.int32(), pa.large_string())  # a column without rows may be of no type
    chunks = pa.chunked_array([chunk for column in columns for chunk in column.cast(names).chunks], names)
    chunks = chunks.unify_dictionaries()
    if not chunks.num_chunks:
        return pd.Categorical(pd.Index([], dtype=str))
    dictionary = chunks.chunk(0).dictionary
    order = pc.sort_indices(dictionary)
    rank = np.empty(len(order), np.int32)
    rank[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    codes = np.concatenate([rank[chunk.indices.to_numpy()] for chunk in chunks.chunks])
    return pd.Categorical.from_codes(codes, pd.Index(dictionary.take(order), dtype=str), validate=False)


def family_names(models: pd.Index) -> NDArray[np.str_]:
    """FAMILY of each "FAMILY.BACKBONE"."""
    return np.array([str(model).split(".")[0] for model in models], dtype=str)


def part_rows(rows: pd.DataFrame, parts: pd.DataFrame) -> NDArray[np.int64]:
    """For each of `rows`, where its query part stands in the parts table; int64 [len(rows)].

    Raises:
        InputError: a part of `rows` is not in the parts table.
    """
    if not len(rows):
        return np.empty(0, np.int64)
    names, query_part = rows["query_id"].cat.categories, rows["query_part"].to_numpy()
    pictures = parts["image_id"].astype("category").cat
    picture = names.get_indexer(pictures.categories)[pictures.codes]
    asked = np.flatnonzero(picture >= 0)
    place = np.full((len(names), max(parts["part"].max(), query_part.max()) + 1), -1)
    place[picture[asked], parts["part"].to_numpy()[asked]] = asked
    found = place[_codes(rows, "query_id"), query_part]
    if found.min() < 0:
        row = rows.iloc[np.argmin(found)]
        raise InputError(
            f"The parts table has no part {row.query_part} of query {row.query_id}; pairs and parts are of "
            "different runs: let the workflow make both again."
        )
    return found


def _packed(*columns: NDArray[np.integer]) -> NDArray[np.int64]:
    """One int64 per row that orders and groups like the columns, the first one most significant."""
    key = np.zeros(len(columns[0]), np.int64)
    size = 1
    for column in columns:
        if not len(column):
            return key
        low = int(column.min())
        radix = int(column.max()) - low + 1
        if size * radix >= 2**63:  # never with a paper's numbers; then the keys so far are counted through
            key = np.unique(key, return_inverse=True)[1]
            size = int(key.max()) + 1
        key *= radix
        key += column
        key -= low
        size *= radix
    return key


def _order(keys: NDArray[np.int64]) -> NDArray[np.intp]:
    """Stable ascending order of keys that are 0 or more.

    NumPy's stable sort of 16 bits is a radix sort, of 64 bits one that compares: digit by digit takes half the time.
    """
    bits = int(keys.max(initial=0)).bit_length()
    return np.lexsort([(keys >> digit).astype(np.uint16) for digit in range(0, max(bits, 1), 16)])


def _starts(sorted_keys: NDArray[np.integer]) -> NDArray[np.intp]:
    """Where each run of equal keys begins."""
    return np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1]][: len(sorted_keys)])


def _codes(rows: pd.DataFrame, column: str) -> NDArray[np.integer]:
    return np.asarray(rows[column].cat.codes if column in NAMES else rows[column])


# ------------------------------------------------------------------------------------------- vote and filters


def vote(pairs: pd.DataFrame, minimum: int) -> pd.DataFrame:
    """The rows of all pairs that at least `minimum` backbones of one family list at one scale.

    A pair is (query part, reference part). Its rows of all backbones that list it are kept, each once; were
    a model to list it twice, the better row. Families and scales vote apart, so one table may hold several.
    (D²LV, section 6.3; the original emits some rows twice, which its next step undoes.)

    Args:
        pairs: table of pairs.
        minimum: agreeing backbones, 1 or more; 1 keeps everything.

    Returns:
        A table of the same columns, ordered by family, scale, query, its part, reference, its part, model.
    """
    order, listed, backbones = _ballots(pairs)
    if not len(listed):
        return pairs
    best = np.maximum.reduceat(pairs["score"].to_numpy()[order], listed)
    survives = backbones >= minimum
    rows = pairs.iloc[order[listed[survives]]].reset_index(drop=True)
    rows["score"] = best[survives]
    return rows


def agreement(pairs: pd.DataFrame) -> NDArray[np.int64]:
    """For each row, how many backbones of its family list its pair at its scale; int64 [len(pairs)]."""
    order, listed, backbones = _ballots(pairs)
    count = np.empty(len(pairs), np.int64)
    count[order] = np.repeat(backbones, np.diff(np.r_[listed, len(order)]))
    return count


def _ballots(pairs: pd.DataFrame) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Who lists what: (order, listed, backbones).

    `order` sorts the rows by family, scale, pair and model; `listed` says where in that order each model's
    listing of a pair begins; `backbones`, one per listing, how many backbones of its family list that pair.
    """
    model = _codes(pairs, "model")
    family = np.unique(family_names(pairs["model"].cat.categories), return_inverse=True)[1]
    place = _packed(family[model], *(_codes(pairs, name) for name in COLUMNS[1:6]))
    key = _packed(place, model)
    order = _order(key)
    listed = _starts(key[order])
    places = _starts(place[order[listed]])
    backbones = np.diff(np.r_[places, len(listed)])
    return order, listed, np.repeat(backbones, backbones)


def part_sizes(parts: pd.DataFrame, reference_side: float | None) -> NDArray[np.float64]:
    """Shorter side of each part, as if its picture's longer side were `reference_side`; pixels, float64 [n].

    Measured in the original picture for every kind of part (D²LV measures detections in a 640-px version: a
    difference of ours). `reference_side` None: pixels as they are.

    Raises:
        InputError: a picture has no whole part (number 0).
    """
    side = np.asarray(np.minimum(parts["x1"] - parts["x0"], parts["y1"] - parts["y0"]), np.float64)
    if reference_side is None:
        return side
    pictures = parts["image_id"].astype("category").cat
    whole = parts["part"].to_numpy() == 0
    longer = np.zeros(len(pictures.categories))
    longer[pictures.codes[whole]] = np.maximum(parts["x1"] - parts["x0"], parts["y1"] - parts["y0"])[whole]
    if not longer.all():
        lost = pictures.categories[int(np.argmin(longer))]
        raise InputError(f"The parts table has no whole picture (part 0) of {lost}; let the workflow make it again.")
    return side * reference_side / longer[pictures.codes]


def drop_small_parts(
    rows: pd.DataFrame, parts: pd.DataFrame, minimum_sides: Mapping[str, float], reference_side: float | None
) -> pd.DataFrame:
    """Rows whose query part is at least as large as its family asks (τ; D²LV, section 6.4.1).

    Args:
        rows: table of pairs.
        parts: parts table of the queries.
        minimum_sides: τ per family, the published pixels.
        reference_side: longer side of the pictures that τ was chosen for (about 1024), so that the effective
            τ is τ × longer side / reference_side; None for absolute pixels, as published.

    Raises:
        InputError: a family has no τ.
    """
    families = family_names(rows["model"].cat.categories)
    unknown = set(families) - set(minimum_sides)
    if unknown:
        raise InputError(
            f"Family {sorted(unknown)[0]} has no minimum part side; give it one as family_table.FAMILY.minimum_side."
        )
    least = np.array([minimum_sides[family] for family in families], np.float64)
    size = part_sizes(parts, reference_side)[part_rows(rows, parts)]
    return rows[size >= least[_codes(rows, "model")]].reset_index(drop=True)


def drop_face_references(rows: pd.DataFrame, faces: pd.DataFrame) -> pd.DataFrame:
    """Rows whose reference shows no face; for the path whole queries × reference tiles (D²LV, section 6.4.2).

    Args:
        rows: table of pairs.
        faces: `image_id, faces` of the references.
    """
    with_face = rows["reference_id"].cat.categories.isin(faces.loc[faces["faces"] > 0, "image_id"])
    return rows[~with_face[_codes(rows, "reference_id")]].reset_index(drop=True)


def strip_tiles(tiles: pd.DataFrame) -> pd.DataFrame:
    """The tile rows without part numbers (−1), as the original has them when it removes faces.

    Rows that then equal another one in query, reference and six-decimal score *all* vanish, since the removal
    works by appending the bad rows and dropping every duplicate (D²LV, section 6.4.2). What agreed in the
    tile too (two backbones, one score) counts once, as dropped before.
    """
    values = tiles[["query_id", "reference_id"]].assign(value=_millionths(tiles["score"]))
    first_of_tile = ~values.assign(q=tiles["query_part"], r=tiles["reference_part"]).duplicated()
    alone = ~values[first_of_tile].duplicated(keep=False)
    kept = tiles[first_of_tile][alone].reset_index(drop=True)
    return kept.assign(query_part=np.int16(-1), reference_part=np.int16(-1))


def penalise(
    rows: pd.DataFrame, parts: pd.DataFrame, penalties: Mapping[str, float], free_ranks: Mapping[str, int]
) -> pd.DataFrame:
    """Subtract from each score the penalty of its query part's kind (D²LV, section 6.4.3, by kind: E7).

    Args:
        rows: table of pairs.
        parts: parts table of the queries.
        penalties: per kind of part. Published: 0.05 for all but the whole picture.
        free_ranks: the first so many parts of a kind in a picture pay nothing. Published: detected_overlay
            20.

    Raises:
        InputError: a kind has no penalty.
    """
    kinds = pd.Categorical(parts["kind"])
    unknown = set(kinds.categories) - set(penalties)
    if unknown:
        raise InputError(f"ensembling.penalties names no penalty for parts of kind {sorted(unknown)[0]}.")
    due = np.array([penalties[kind] for kind in kinds.categories])[kinds.codes]
    free = np.array([free_ranks.get(kind, 0) for kind in kinds.categories])[kinds.codes]
    due[parts["rank"].to_numpy() < free] = 0
    score = rows["score"].to_numpy()
    return rows.assign(score=score - due[part_rows(rows, parts)].astype(score.dtype))


def collect_evidence(
    rows: pd.DataFrame, parts: pd.DataFrame, minimum_sides: Mapping[str, float], settings: Ensembling
) -> pd.DataFrame:
    """Query parts × whole references: size filter, then penalties (D²LV, section 6.4.1 and 6.4.3)."""
    rows = drop_small_parts(rows, parts, minimum_sides, settings.reference_side)
    return penalise(_as_written(rows, settings), parts, settings.penalties, settings.free_ranks)


def collect_tile_evidence(tiles: pd.DataFrame, faces: pd.DataFrame | None, settings: Ensembling) -> pd.DataFrame:
    """Whole queries × reference tiles: references with faces dropped, and one penalty (section 6.4.2, E8).

    Raises:
        InputError: faces are to be dropped and there is no table of them.
    """
    tiles = _as_written(tiles, settings)
    if settings.drop_face_references:
        if faces is None:
            raise InputError("ensembling.drop_face_references is true, yet no table of faces was given (--faces).")
        tiles = drop_face_references(tiles, faces)
        if settings.final_score == "distinct_values":
            tiles = strip_tiles(tiles)
    score = tiles["score"].to_numpy()
    return tiles.assign(score=score - score.dtype.type(settings.tile_penalty))


def _as_written(rows: pd.DataFrame, settings: Ensembling) -> pd.DataFrame:
    """For the rule that compares values: scores as a CSV of six decimals would bring them back."""
    if settings.final_score == "distinct_values":
        return rows.assign(score=_millionths(rows["score"]) / 1e6)
    return rows


def _millionths(scores: pd.Series) -> NDArray[np.int64]:
    return np.rint(scores.to_numpy(np.float64) * 1e6).astype(np.int64)


# ---------------------------------------------------------------------------------------------- final scores


def final_scores(rows: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    """One score per (query, reference) from all its evidence (D²LV, section 6.5 and E11).

    `different_evidence`: mean of the two best rows that differ in model, scale, query part or reference part;
    rows equal in all four count once, the better one; a single piece of evidence counts alone.

    `distinct_values`: the original. Rows equal in query part, reference part and six-decimal score count
    once. Then part numbers are forgotten; a is the largest score, b the largest among those scores below a
    that occur exactly once; (a + b) / 2, or a where there is no b.

    Args:
        rows: table of pairs with penalties already subtracted; part −1 stands for a name without part.
        rule: as above.

    Returns:
        `query_id, reference_id, score` (float64), one row per pair, ordered by query and reference.
    """
    score = _distinct_values if rule == "distinct_values" else _different_evidence
    return pd.concat([score(block) for block in _blocks_of_queries(rows)], ignore_index=True)


def _blocks_of_queries(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The rows of some queries, about `BLOCK` of them, then of the next queries: scoring them holds no more."""
    query = _codes(rows, "query_id")
    block = np.cumsum(np.bincount(query)) // BLOCK
    of_row = block.astype(np.int32)[query]
    for number in np.unique(block) if len(rows) else [0]:
        yield rows.iloc[np.flatnonzero(of_row == number)]


def _different_evidence(rows: pd.DataFrame) -> pd.DataFrame:
    pair = _packed(_codes(rows, "query_id"), _codes(rows, "reference_id"))
    order = _order(pair)
    first = _starts(pair[order])
    if not len(first):
        return _scored(rows, order, np.zeros(0))
    sizes = np.diff(np.r_[first, len(order)])
    score = rows["score"].to_numpy()[order]
    best = np.maximum.reduceat(score, first)
    evidence = _packed(*(_codes(rows, name) for name in ("model", "scale", "query_part", "reference_part")))[order]
    # the evidence of each pair's best row (the first of equals); the second best is the best with another one
    at_best = np.flatnonzero(score == np.repeat(best, sizes))
    at_best = at_best[np.searchsorted(at_best, first)]
    other = evidence != np.repeat(evidence[at_best], sizes)
    second = np.maximum.reduceat(np.where(other, score, -np.inf), first)
    second = np.where(np.isneginf(second), best, second)
    return _scored(rows, order[first], (best.astype(np.float64) + second) / 2)


def _distinct_values(rows: pd.DataFrame) -> pd.DataFrame:
    pair = _packed(_codes(rows, "query_id"), _codes(rows, "reference_id"))
    value = _millionths(rows["score"])
    parts = _packed(_codes(rows, "query_part"), _codes(rows, "reference_part"))
    order = _order(_packed(pair, value, parts))
    pair, value, parts = pair[order], value[order], parts[order]
    if not len(order):
        return _scored(rows, order, np.zeros(0))
    new_value = np.r_[True, (pair[1:] != pair[:-1]) | (value[1:] != value[:-1])]
    kept = new_value | np.r_[True, parts[1:] != parts[:-1]]
    order, pair, value, new_value = order[kept], pair[kept], value[kept], new_value[kept]
    # one entry per (pair, value), ascending, with the number of its rows
    entry = np.flatnonzero(new_value)
    count = np.diff(np.r_[entry, len(order)])
    order, pair, value = order[entry], pair[entry], value[entry]
    first = _starts(pair)
    last = np.r_[first[1:], len(pair)] - 1
    best = value[last]
    lowest = np.iinfo(np.int64).min
    candidate = np.where(count == 1, value, lowest)
    candidate[last] = lowest
    second = np.maximum.reduceat(candidate, first)
    second = np.where(second == lowest, best, second)
    return _scored(rows, order[first], (best + second) / 2e6)


def _scored(rows: pd.DataFrame, places: NDArray[np.intp], scores: NDArray[np.float64]) -> pd.DataFrame:
    return rows[["query_id", "reference_id"]].iloc[places].reset_index(drop=True).assign(score=scores)


def best_scores(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The largest score of each (query, reference) in any of the tables (D²LV, section 6.6).

    Args:
        tables: pairs tables, whose parts and models are forgotten, and lists of matches.

    Returns:
        `query_id, reference_id, score` (float64), one row per pair, ordered by query and reference.
    """
    ids = dict.fromkeys(["query_id", "reference_id"], "category")
    rows = stack([table[FINAL_COLUMNS].astype(ids) for table in tables])
    pair = _packed(_codes(rows, "query_id"), _codes(rows, "reference_id"))
    order = _order(pair)
    first = _starts(pair[order])
    score = rows["score"].to_numpy(np.float64)[order]
    return _scored(rows, order[first], np.maximum.reduceat(score, first) if len(first) else score)


# --------------------------------------------------------------------------------------------- the final file


def cut(final: pd.DataFrame, rows_per_query: float, queries: int, maximum_rows: int | None = None) -> pd.DataFrame:
    """The best rows of all queries together: at most rows_per_query × queries, and at most `maximum_rows`.

    Scores are rounded to six decimals first, then ordered by score descending, query_id, reference_id: what
    is written is sorted as it reads, and its bytes depend on no order of rows before (E21). Published: 10
    rows per query of 50,000, 500,000 rows (D²LV, section 6.5).
    """
    limit = int(rows_per_query * queries)
    limit = min(limit, maximum_rows) if maximum_rows is not None else limit
    value = _millionths(final["score"])
    kept = np.arange(len(value) if limit else 0)
    if len(value) > limit > 0:
        kept = np.flatnonzero(value >= np.partition(value, len(value) - limit)[len(value) - limit])
    columns = pd.DataFrame()
    for name in ("query_id", "reference_id"):
        ids = final[name].iloc[kept].reset_index(drop=True).astype("category").cat.remove_unused_categories()
        columns[name] = ids.cat.reorder_categories(sorted(ids.cat.categories))
    columns["score"] = value[kept] / 1e6
    order = np.lexsort((_codes(columns, "reference_id"), _codes(columns, "query_id"), -value[kept]))[:limit]
    return columns.iloc[order].reset_index(drop=True)


def write_final(path: str | Path, final: pd.DataFrame) -> None:
    """Write `query_id,reference_id,score` with six decimals, in the order given (benchmark sheet 1.3)."""
    with atomic_output(path) as temporary:
        final[FINAL_COLUMNS].to_csv(temporary, index=False, float_format="%.6f", lineterminator="\n")


def read_final(path: str | Path) -> pd.DataFrame:
    """A file as `write_final` leaves it: ids str, score float64.

    Raises:
        InputError: other columns, or a score that is no number.
    """
    try:
        final = pd.read_csv(
            path,
            dtype={"query_id": str, "reference_id": str},
            keep_default_na=False,
            na_values={"score": [""]},
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as broken:
        raise InputError(f"{path} is not a CSV of query_id,reference_id,score: {broken}") from None
    if list(final.columns) != FINAL_COLUMNS:
        raise InputError(f"{path} has columns {','.join(final.columns)}; expected {','.join(FINAL_COLUMNS)}.")
    final["score"] = pd.to_numeric(final["score"], errors="coerce").astype(np.float64)
    if final["score"].isna().any():
        raise InputError(f"{path} has a score that is no number in line {int(final['score'].isna().argmax()) + 2}.")
    return final
