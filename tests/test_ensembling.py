"""Vote, filters, penalties and final score against hand-made tables and slow loops."""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copytrace import ensembling
from copytrace.errors import InputError

SCRIPTS = Path(ensembling.__file__).parents[1]


def pairs(*rows):
    """A table of pairs from (model, scale, query, query_part, reference, reference_part, score)."""
    table = pd.DataFrame(list(rows), columns=ensembling.COLUMNS)
    table = table.astype({"scale": "int16", "query_part": "int16", "reference_part": "int16", "score": "float32"})
    return ensembling.stack([table.astype(dict.fromkeys(ensembling.NAMES, "category"))])


def listed(table):
    return [tuple(row) for row in table.itertuples(index=False)]


def parts(*rows):
    """A parts table from (image, part, kind, rank, width, height of the box)."""
    table = pd.DataFrame(list(rows), columns=["image_id", "part", "kind", "rank", "x1", "y1"])
    return table.assign(x0=0, y0=0, rotation=0, mirrored=False, score=np.float32("nan"))


SETTINGS = {
    "vote": 2,
    "tile_vote": 3,
    "reference_side": None,
    "penalties": {"whole": 0, "rotation": 0.05, "detected_overlay": 0.05},
    "free_ranks": {"detected_overlay": 20},
    "tile_penalty": 0.05,
    "drop_face_references": True,
    "final_score": "different_evidence",
    "rows_per_query": 10,
    "maximum_rows": 500_000,
}

RULES = st.sampled_from(["different_evidence", "distinct_values"])

evidence = st.tuples(
    st.sampled_from(["f.a", "f.b", "f.c", "g.a", "g.b"]),
    st.sampled_from([200, 256]),
    st.sampled_from(["q1", "q2"]),
    st.integers(0, 2),
    st.sampled_from(["r1", "r2"]),
    st.integers(0, 1),
    st.integers(0, 8).map(lambda number: number / 8),
)


# ------------------------------------------------------------------------------------------------------ vote


def test_vote_keeps_the_rows_of_all_backbones_that_agree():
    table = pairs(
        ("f.a", 256, "q", 0, "r", 0, 0.9),
        ("f.b", 256, "q", 0, "r", 0, 0.5),
        ("f.a", 256, "q", 1, "r", 0, 0.9),  # another part: one backbone only
        ("f.b", 200, "q", 1, "r", 0, 0.9),  # another scale
        ("g.c", 256, "q", 1, "r", 0, 0.9),  # another family
    )
    expected = [("f.a", 256, "q", 0, "r", 0), ("f.b", 256, "q", 0, "r", 0)]
    kept = ensembling.vote(table, 2)
    assert [row[:6] for row in listed(kept)] == expected
    assert kept["score"].tolist() == pytest.approx([0.9, 0.5])
    assert len(ensembling.vote(table, 1)) == 5
    assert len(ensembling.vote(table, 3)) == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(evidence, min_size=1, max_size=40), st.integers(1, 3))
def test_vote_equals_a_loop_over_rows(rows, minimum):
    table = pairs(*rows)
    voters, best = defaultdict(set), {}
    for row in rows:
        voters[row[0][0], *row[1:6]].add(row[0])
        best[row[:6]] = max(row[6], best.get(row[:6], -1))
    expected = {key: value for key, value in best.items() if len(voters[key[0][0], *key[1:6]]) >= minimum}
    kept = ensembling.vote(table, minimum)
    assert {row[:6]: row[6] for row in listed(kept)} == expected
    assert len(kept) == len(expected)
    counts = [len(voters[row[0][0], *row[1:6]]) for row in listed(table)]
    assert ensembling.agreement(table).tolist() == counts
    assert listed(kept) == listed(ensembling.vote(table.iloc[::-1].reset_index(drop=True), minimum))


def test_packed_keys_group_like_their_columns_even_where_64_bits_are_too_few():
    rng = np.random.default_rng(0)
    columns = [rng.integers(-3, 3, 500) * 2**40 for _ in range(4)]
    key = ensembling._packed(*columns)
    order = np.argsort(key, kind="stable")
    assert (order == np.lexsort(columns[::-1])).all()


def test_keys_of_any_size_are_ordered_like_numpy_does():
    rng = np.random.default_rng(0)
    for bits in (1, 15, 16, 17, 40, 63):
        keys = rng.integers(0, 2**bits, 300) // rng.integers(1, 9, 300)  # some are equal
        assert (ensembling._order(keys) == np.argsort(keys, kind="stable")).all()
    assert len(ensembling._order(np.zeros(0, np.int64))) == 0


long_ids = st.sampled_from(["a", "B", "10", "9", "é", "NA", "x" * 240, "x" * 240 + "y", "x" * 239 + "\U0001f388"])
# What one model lists. Scores are eighths, so that many tie; a table may be empty, or name what no other names.
model_lists = st.dictionaries(
    st.tuples(st.sampled_from([200, 256]), long_ids, st.integers(0, 2), long_ids, st.integers(0, 1)),
    st.integers(0, 8).map(lambda number: number / 8),
    max_size=25,
)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["f.a", "f.b", "f.c", "g.a", "g.b"]), model_lists, min_size=1),
    st.integers(1, 2),
    st.integers(1, 20),
    RULES,
)
def test_files_to_ranked_list_equal_sets_and_dicts(tmp_path_factory, lists, minimum, block, rule):
    """From each model's file, as text or as categories, to the ranked list, however few rows are scored at a time."""
    folder = tmp_path_factory.mktemp("lists")
    for number, (model, found) in enumerate(lists.items()):
        rows = [(model, *place, score) for place, score in found.items()]
        table = pd.DataFrame(rows, columns=ensembling.COLUMNS)
        table = table.astype({"scale": int, "query_part": int, "reference_part": int, "score": "float32"})
        table = table.astype(dict.fromkeys(ensembling.NAMES, "category")) if number % 2 else table
        table.to_parquet(folder / f"{model}.parquet", index=False)
    everything = [(model, *place, score) for model, found in lists.items() for place, score in found.items()]
    read = ensembling.read_pairs([folder / f"{model}.parquet" for model in lists])
    assert listed(read) == everything
    assert set(read["model"].cat.categories) == {row[0] for row in everything}

    voters = defaultdict(set)
    for row in everything:
        voters[row[0][0], *row[1:6]].add(row[0])
    kept = [row for row in everything if len(voters[row[0][0], *row[1:6]]) >= minimum]
    voted = []
    for family in sorted({model[0] for model in lists}):
        pairs_of_family = ensembling.read_pairs([folder / f"{m}.parquet" for m in lists if m[0] == family], [family])
        voted.append(ensembling.vote(pairs_of_family, minimum))
    rows = ensembling.stack(voted)
    assert listed(rows) == sorted(kept, key=lambda row: (row[0][0], *row[1:6], row[0]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensembling, "BLOCK", block)
        final = ensembling.final_scores(rows, rule)
    ranked = sorted((-score, *pair) for pair, score in slow_score(kept, rule).items())
    assert [(-row[2], *row[:2]) for row in listed(ensembling.cut(final, 10, 2))] == ranked[:20]


def test_tables_without_rows_pass_every_step(tmp_path):
    empty = pairs(("f.a", 256, "q", 0, "r", 0, 1.0)).iloc[:0]
    table = parts(("q", 0, "whole", 0, 10, 10))
    rows = ensembling.Ensembling(**SETTINGS)
    kept = ensembling.collect_evidence(ensembling.vote(empty, 2), table, {"f": 1}, rows)
    for rule in ("different_evidence", "distinct_values"):
        assert len(ensembling.cut(ensembling.final_scores(kept, rule), 10, 5)) == 0
    ensembling.write_pairs(tmp_path / "empty.parquet", empty)
    read = ensembling.read_pairs([tmp_path / "empty.parquet"])
    assert listed(ensembling.stack([read, pairs(("f.a", 256, "q", 0, "r", 0, 1.0))])) == [
        ("f.a", 256, "q", 0, "r", 0, 1)
    ]


# --------------------------------------------------------------------------------------------------- filters


def test_size_filter_measures_every_kind_in_the_frame_of_the_original():
    table = parts(
        ("q", 0, "whole", 0, 512, 400),
        ("q", 1, "selective_search", 0, 100, 300),
        ("q", 2, "detected_overlay", 0, 99, 300),
        ("p", 0, "whole", 0, 80, 60),
    )
    rows = pairs(*[("f.a", 256, "q", part, "r", 0, 0.5) for part in range(3)], ("g.a", 256, "q", 2, "r", 0, 0.5))
    rows = ensembling.stack([rows, pairs(("f.a", 256, "p", 0, "r", 0, 0.5))])
    absolute = ensembling.drop_small_parts(rows, table, {"f": 100, "g": 99}, None)
    assert [(row[0], row[2], row[3]) for row in listed(absolute)] == [
        ("f.a", "q", 0),
        ("f.a", "q", 1),
        ("g.a", "q", 2),
    ]
    # 200 px of a 1024-px picture are 100 of a 512-px one; 60 of 80 px are 768 of 1024: whole pictures pass
    scaled = ensembling.drop_small_parts(rows, table, {"f": 200, "g": 200}, 1024)
    assert [(row[0], row[2], row[3]) for row in listed(scaled)] == [
        ("f.a", "q", 0),
        ("f.a", "q", 1),
        ("f.a", "p", 0),
    ]
    with pytest.raises(InputError, match="Family g has no minimum part side"):
        ensembling.drop_small_parts(rows, table, {"f": 1}, None)
    with pytest.raises(InputError, match="no part 2 of query q"):
        ensembling.drop_small_parts(rows, table[table["part"] != 2], {"f": 1, "g": 1}, None)


def test_face_references_are_dropped():
    rows = pairs(("f.a", 1, "q", 0, "r1", 3, 0.5), ("f.a", 1, "q", 0, "r2", 3, 0.5), ("f.a", 1, "q", 0, "r3", 3, 0.5))
    faces = pd.DataFrame({"image_id": ["r1", "r2", "r9"], "faces": [2, 0, 1]})
    assert ensembling.drop_face_references(rows, faces)["reference_id"].tolist() == ["r2", "r3"]


def test_penalties_go_by_kind_and_rank():
    table = parts(
        ("q", 0, "whole", 0, 9, 9),
        ("q", 1, "rotation", 0, 9, 9),
        *[("q", 2 + rank, "detected_overlay", rank, 9, 9) for rank in range(22)],
    )
    rows = pairs(*[("f.a", 1, "q", part, "r", 0, 0.5) for part in range(24)])
    paid = ensembling.penalise(rows, table, SETTINGS["penalties"], {"detected_overlay": 20})
    assert paid["score"].tolist() == pytest.approx([0.5, 0.45] + [0.5] * 20 + [0.45] * 2)
    assert paid["score"].dtype == np.float32
    with pytest.raises(InputError, match="kind rotation"):
        ensembling.penalise(rows, table, {"whole": 0, "detected_overlay": 0}, {})


# ------------------------------------------------------------------------------------------------ final score


def score_of(rule, *rows):
    final = ensembling.final_scores(pairs(*rows), rule)
    return dict(zip(zip(final["query_id"], final["reference_id"]), final["score"].round(6)))


def test_two_best_different_pieces_of_evidence():
    assert score_of(
        "different_evidence",
        ("f.a", 256, "q", 0, "r", 0, 0.75),
        ("f.a", 256, "q", 0, "r", 0, 0.5),  # the same evidence again, worse: does not count
        ("f.a", 256, "q", 1, "r", 0, 0.25),
        ("f.a", 256, "q", 0, "s", 0, 0.5),
        ("f.a", 256, "q", 0, "s", 2, 0.5),  # another tile at the same score counts
        ("f.a", 256, "p", 0, "s", 0, 0.25),  # alone
        ("f.a", 256, "p", 0, "t", 0, 0.5),
        ("f.a", 200, "p", 0, "t", 0, 0.25),
        ("f.b", 256, "p", 0, "t", 0, 0.375),
    ) == {("q", "r"): 0.5, ("q", "s"): 0.5, ("p", "s"): 0.25, ("p", "t"): 0.4375}


def test_distinct_values_lets_equal_scores_cancel():
    assert score_of(
        "distinct_values",
        # 0.5 occurs twice (two parts) and vanishes; 0.25 is the second
        ("f.a", 256, "q", 0, "r", 0, 0.75),
        ("f.a", 256, "q", 1, "r", 0, 0.5),
        ("f.a", 256, "q", 2, "r", 0, 0.5),
        ("f.b", 256, "q", 0, "r", 0, 0.25),
        # the maximum twice: no second, it counts alone
        ("f.a", 256, "q", 0, "s", 0, 0.5),
        ("f.a", 256, "q", 1, "s", 0, 0.5),
        # one part, two models, one score: an exact duplicate without the model's name, kept once
        ("f.a", 256, "p", 0, "s", 0, 0.5),
        ("f.a", 256, "p", 1, "s", 0, 0.25),
        ("f.b", 200, "p", 1, "s", 0, 0.25),
        # equal in six decimals
        ("f.a", 256, "p", 0, "t", 0, 0.5),
        ("f.a", 256, "p", 1, "t", 0, 0.25),
        ("f.a", 256, "p", 2, "t", 0, 0.2500001),
    ) == {("q", "r"): 0.5, ("q", "s"): 0.5, ("p", "s"): 0.375, ("p", "t"): 0.5}


def slow_score(rows, rule):
    """Final scores by the words of the fact sheet, pair by pair."""
    result = {}
    for pair in {(row[2], row[4]) for row in rows}:
        own = [row for row in rows if (row[2], row[4]) == pair]
        if rule == "different_evidence":
            best = {}
            for row in own:
                key = (row[0], row[1], row[3], row[5])
                best[key] = max(row[6], best.get(key, -1))
            top = sorted(best.values())[-2:]
            result[pair] = sum(top) / len(top)
        else:
            values = [row[-1] for row in {(row[3], row[5], row[6]) for row in own}]
            rest = [value for value in values if value != max(values) and values.count(value) == 1]
            result[pair] = (max(values) + max(rest)) / 2 if rest else max(values)
    return result


@settings(max_examples=60, deadline=None)
@given(st.lists(evidence, min_size=1, max_size=40), st.sampled_from(["different_evidence", "distinct_values"]))
def test_final_score_equals_a_loop_over_pairs(rows, rule):
    assert score_of(rule, *rows) == pytest.approx(slow_score(rows, rule))


def test_tiles_made_equal_by_stripping_vanish_in_the_original_only():
    tiles = pairs(
        ("f.a", 256, "q", 0, "r", 1, 0.5),
        ("f.b", 256, "q", 0, "r", 2, 0.5),  # equal once tiles are forgotten: both vanish
        ("f.a", 256, "q", 0, "r", 3, 0.25),
        ("f.b", 256, "q", 0, "r", 3, 0.25),  # the same tile and score: once
        ("f.a", 256, "q", 0, "face", 1, 0.75),
    )
    faces = pd.DataFrame({"image_id": ["face"], "faces": [1]})
    clean = ensembling.Ensembling(**SETTINGS)
    original = ensembling.Ensembling(**{**SETTINGS, "final_score": "distinct_values"})
    kept = ensembling.collect_tile_evidence(tiles, faces, clean)
    assert kept["score"].tolist() == pytest.approx([0.45, 0.45, 0.2, 0.2])
    stripped = ensembling.collect_tile_evidence(tiles, faces, original)
    assert stripped["score"].tolist() == pytest.approx([0.2])
    assert stripped[["query_part", "reference_part"]].to_numpy().tolist() == [[-1, -1]]
    with pytest.raises(InputError, match="--faces"):
        ensembling.collect_tile_evidence(tiles, None, clean)


@settings(max_examples=60, deadline=None)
@given(st.lists(evidence, max_size=30), st.lists(evidence, max_size=30), st.sampled_from([0.5, 1, 10]))
def test_the_second_submission_has_the_larger_score_of_each_pair(first, second, per_query):
    """Scores are eighths, so that pairs tie, at the cut too."""
    template = pairs(("f.a", 256, "q1", 0, "r1", 0, 1.0)).iloc[:0]
    final = pd.DataFrame([(q, r, s) for (q, r), s in slow_score(first, "different_evidence").items()])
    final = final.set_axis(ensembling.FINAL_COLUMNS, axis=1) if first else template[ensembling.FINAL_COLUMNS]
    best = {}
    rows = [(row[2], row[4], row[6]) for row in second] + [tuple(row) for row in final.itertuples(index=False)]
    for query, reference, score in rows:
        best[query, reference] = max(score, best.get((query, reference), -1))
    found = ensembling.best_scores([final, pairs(*second) if second else template])
    expected = sorted((-score, *pair) for pair, score in best.items())[: int(2 * per_query)]
    cut = ensembling.cut(found, per_query, 2)
    assert [(-row[2], *row[:2]) for row in listed(cut)] == expected


# ------------------------------------------------------------------------------------------------- final file


def test_cut_is_global_sorted_as_written_and_independent_of_order():
    final = pd.DataFrame(
        {
            "query_id": ["q2", "q1", "q1", "q10", "q1"],
            "reference_id": ["r1", "r2", "r1", "r1", "r3"],
            "score": [0.5, 0.5000001, 0.4999999, 0.9, 0.1],
        }
    )
    expected = [
        ("q10", "r1", 0.9),
        ("q1", "r1", 0.5),
        ("q1", "r2", 0.5),
        ("q2", "r1", 0.5),
        ("q1", "r3", 0.1),
    ]
    assert listed(ensembling.cut(final, 10, 3)) == expected
    assert listed(ensembling.cut(final.iloc[::-1], 10, 3)) == expected
    assert listed(ensembling.cut(final, 1, 3)) == expected[:3]
    assert listed(ensembling.cut(final, 10, 3, maximum_rows=2)) == expected[:2]


def test_final_file_reads_back_and_has_no_negative_zero(tmp_path):
    final = pd.DataFrame({"query_id": ["a,b", "NA"], "reference_id": ["é", "1"], "score": [1.5, -1e-9]})
    path = tmp_path / "final.csv"
    ensembling.write_final(path, ensembling.cut(final, 10, 2))
    assert path.read_text() == 'query_id,reference_id,score\n"a,b",é,1.500000\nNA,1,0.000000\n'
    assert listed(ensembling.read_final(path)) == [("a,b", "é", 1.5), ("NA", "1", 0.0)]
    path.write_text("query_id,reference_id,score\na,b,high\n")
    with pytest.raises(InputError, match="line 2"):
        ensembling.read_final(path)


# --------------------------------------------------------------------------------------------------- scripts


def run(script, *arguments):
    command = [sys.executable, SCRIPTS / script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_scripts_from_pairs_to_the_final_file(tmp_path):
    lists = [
        [("f.a", 256, "q", 0, "r", 0, 0.9), ("f.b", 256, "q", 0, "r", 0, 0.7)],
        [("f.c", 256, "q", 1, "r", 0, 0.8), ("g.a", 256, "q", 0, "s", 0, 0.95)],
        [("f.b", 256, "q", 1, "r", 0, 0.85), ("f.a", 256, "p", 0, "s", 0, 0.3)],
    ]
    plain = [pd.DataFrame(rows, columns=ensembling.COLUMNS).astype({"score": "float32"}) for rows in lists]
    for number, table in enumerate(plain):  # as plain strings and as categories: both are read
        table.astype({"query_id": "category"} if number else {}).to_parquet(tmp_path / f"{number}.parquet")
    files = [tmp_path / f"{number}.parquet" for number in range(3)]
    tiles = pairs(*[(f"f.{model}", 256, "p", 0, "s", 4, 0.6) for model in "abc"])
    ensembling.write_pairs(tmp_path / "tiles.parquet", tiles)
    table = parts(("q", 0, "whole", 0, 90, 90), ("q", 1, "rotation", 0, 90, 90), ("p", 0, "whole", 0, 90, 90))
    table.to_parquet(tmp_path / "parts.parquet")
    pd.DataFrame({"image_id": ["r"], "faces": [1]}).to_parquet(tmp_path / "faces.parquet")
    pd.DataFrame({"image_id": ["p", "q"]}).to_parquet(tmp_path / "queries.parquet")

    voted = run(
        "vote_backbones.py",
        "--pairs",
        *files,
        "--family",
        "f",
        "--minimum",
        2,
        "--output",
        tmp_path / "f.parquet",
    )
    assert voted.returncode == 0, voted.stderr
    assert "4 of 5 rows survive" in voted.stderr
    arguments = ["--pairs", tmp_path / "tiles.parquet", "--family", "f", "--output", tmp_path / "t.parquet"]
    assert run("vote_backbones.py", *arguments, "--minimum", 3).returncode == 0
    too_many = run("vote_backbones.py", *arguments, "--minimum", 4)
    assert too_many.returncode == 2
    assert "only 3 have pairs" in too_many.stderr

    arguments = ["--voted", tmp_path / "f.parquet", "--tile-votes", tmp_path / "t.parquet"]
    for name in ("parts", "faces", "queries"):
        arguments += [f"--{name}", tmp_path / f"{name}.parquet"]
    arguments += ["--ensembling", json.dumps(SETTINGS), "--family-sides", json.dumps({"f": 50})]
    combined = run("combine_families.py", *arguments, "--output", tmp_path / "final.csv")
    assert combined.returncode == 0, combined.stderr
    # q, r: 0.9 and 0.85 − 0.05; p, s: two of three tile rows of 0.6 − 0.05
    expected = "query_id,reference_id,score\nq,r,0.850000\np,s,0.550000\n"
    assert (tmp_path / "final.csv").read_text() == expected


# ------------------------------------------------------------------------- the steps together, in plain Python

KINDS = ["whole", "rotation", "detected_overlay"]

# parts 0, 1 and 2 of q1 and q2: kind, rank, width, height
part_tables = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 3), st.integers(1, 40), st.integers(1, 40)), min_size=6, max_size=6
)


def slow_matches(rows, tiles, described, sides, faces, chosen):
    """What the sheet says (6.4 and 6.5), pair by pair, for the rule `different_evidence`."""
    kept = []
    for row in rows:
        kind, rank, width, height = described[row[2], row[3]]
        longer = max(described[row[2], 0][2:])
        side = min(width, height) * (chosen.reference_side / longer if chosen.reference_side else 1)
        if side >= sides[row[0].split(".")[0]]:
            free = rank < chosen.free_ranks.get(kind, 0)
            kept.append((*row[:6], row[6] - (0 if free else chosen.penalties[kind])))
    for row in tiles:
        if not (chosen.drop_face_references and row[4] in faces):
            kept.append((*row[:6], row[6] - chosen.tile_penalty))
    found = sorted((-score, *pair) for pair, score in slow_score(kept, chosen.final_score).items()) if kept else []
    limit = min(int(chosen.rows_per_query * 2), chosen.maximum_rows or 10**9)
    return [(query, reference, -score) for score, query, reference in found[:limit]]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(evidence, max_size=40),
    st.lists(evidence, max_size=10),
    part_tables,
    st.fixed_dictionaries({"f": st.integers(0, 40), "g": st.integers(0, 40)}),
    st.sets(st.sampled_from(["r1", "r2"])),
    st.fixed_dictionaries(
        {
            "reference_side": st.sampled_from([None, 64]),
            "penalties": st.just({"whole": 0, "rotation": 0.125, "detected_overlay": 0.25}),
            "free_ranks": st.sampled_from([{}, {"detected_overlay": 2}]),
            "tile_penalty": st.sampled_from([0.0, 0.125]),
            "drop_face_references": st.booleans(),
            "rows_per_query": st.sampled_from([0.5, 1, 10]),
            "maximum_rows": st.sampled_from([None, 1, 3]),
        }
    ),
)
def test_evidence_scores_and_cut_equal_plain_python(rows, tiles, parts_of, sides, faces, changed):
    """Scores are eighths and sixteenths, so that pairs tie, at the cut too, and every sum is exact."""
    chosen = ensembling.Ensembling(**{**SETTINGS, **changed})
    names = [(query, part) for query in ("q1", "q2") for part in range(3)]
    described = dict(zip(names, parts_of))
    table = parts(*((*name, *described[name]) for name in names))
    face_table = pd.DataFrame({"image_id": ["r1", "r2"], "faces": [int(name in faces) for name in ("r1", "r2")]})
    template = pairs(("f.a", 256, "q1", 0, "r1", 0, 1.0)).iloc[:0]
    found = ensembling.stack(
        [
            ensembling.collect_evidence(pairs(*rows) if rows else template, table, sides, chosen),
            ensembling.collect_tile_evidence(pairs(*tiles) if tiles else template, face_table, chosen),
        ]
    )
    final = ensembling.final_scores(found, chosen.final_score)
    result = listed(ensembling.cut(final, chosen.rows_per_query, 2, chosen.maximum_rows))
    expected = slow_matches(rows, tiles, described, sides, faces, chosen)
    assert [row[:2] for row in result] == [row[:2] for row in expected]
    assert [row[2] for row in result] == pytest.approx([row[2] for row in expected])


odd_ids = st.sampled_from(["a", "B", "a,b", "10", "9", "\u00e9", "e\u0301", "\n", "NA", "\U0001f388"])


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.tuples(odd_ids, odd_ids), st.integers(-9, 9).map(lambda n: n * 4e-7), max_size=30),
    st.sampled_from([0, 0.5, 1, 7]),
    st.integers(1, 5),
    st.none() | st.integers(0, 12),
)
def test_cut_equals_sorting_the_written_lines(scores, per_query, queries, most):
    """Scores of fractions of a millionth: what differs no more once written ties, and ids decide."""
    final = pd.DataFrame([(*pair, score) for pair, score in scores.items()], columns=ensembling.FINAL_COLUMNS)
    final = final.astype({"query_id": str, "reference_id": str, "score": float})
    limit = min(int(per_query * queries), 10**9 if most is None else most)
    expected = sorted((-round(score * 1e6), *pair) for pair, score in scores.items())[:limit]
    cut = ensembling.cut(final, per_query, queries, most)
    assert [(-round(row[2] * 1e6), *row[:2]) for row in listed(cut)] == expected
