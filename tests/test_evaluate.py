"""The evaluation from tables to numbers and figures, on made scores whose order is known."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from copytrace import ablation, ensembling, ground_truth, metrics
from copytrace.errors import InputError

SCRIPTS = Path(ensembling.__file__).parents[1]
QUERIES = [f"q{number:02}" for number in range(24)]
REFERENCES = [f"r{number:02}" for number in range(40)]
COPIES = 16  # query i is a copy of reference i; the rest has no source
FAMILIES, UNTRAINED = ["plain_CC", "plain_BW"], ["pretrained_CC", "pretrained_BW"]
KINDS = ["whole", "rotation", "selective_search"]
SETTINGS = {
    "vote": 2,
    "tile_vote": 3,
    "reference_side": None,
    "penalties": {"whole": 0, "rotation": 0.05, "selective_search": 0.05},
    "free_ranks": {},
    "tile_penalty": 0.05,
    "drop_face_references": False,
    "final_score": "different_evidence",
    "rows_per_query": 10,
    "maximum_rows": 500_000,
}
EVALUATION = {"queries": "all", "bootstrap_samples": 100, "confidence": 0.95}
SECOND = {"families": ["pairs_CC"], "scales": [128], "vote": 2, "augment": False}
SIDES = dict.fromkeys([*FAMILIES, *UNTRAINED], 0)


def similarities(rng, models, parts, tiles, signal, noise):
    """Pairs of every model: uncorrelated noise everywhere, a signal where a part shows the source."""
    rows = []
    for model in models:
        score = rng.normal(0, noise, (len(QUERIES), len(REFERENCES), parts, tiles))
        for query in range(COPIES):
            score[query, query, query % parts, query % tiles] += signal
        best = np.argsort(-score, axis=None)[:300]
        query, reference, part, tile = np.unravel_index(best, score.shape)
        names = [np.array(QUERIES)[query], part, np.array(REFERENCES)[reference], tile, score.flat[best]]
        rows.append(pd.DataFrame(dict(zip(ensembling.COLUMNS[2:], names))).assign(model=model, scale=128))
    table = pd.concat(rows)[ensembling.COLUMNS]
    return table.astype({"query_part": "int16", "reference_part": "int16", "score": "float32"})


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """A folder with every input of evaluate.py, and the command line."""
    folder = tmp_path_factory.mktemp("evaluate")
    rng = np.random.default_rng(1)
    for family, signal in zip([*FAMILIES, *UNTRAINED], (0.8, 0.7, 0.35, 0.3)):
        models = [f"{family}.{name}" for name in ("a", "b", "c")]
        table = similarities(rng, models, len(KINDS), 1, signal, 0.2)
        table.to_parquet(folder / f"{family}.parquet", index=False)
    tiles = similarities(rng, [f"plain_CC.{name}" for name in "abc"], 1, 4, 0.6, 0.2)
    tiles.to_parquet(folder / "tiles.parquet", index=False)
    parts = pd.DataFrame(
        [(query, part, kind, 0) for query in QUERIES for part, kind in enumerate(KINDS)],
        columns=["image_id", "part", "kind", "rank"],
    )
    parts.assign(x0=0, y0=0, x1=100, y1=80).to_parquet(folder / "parts.parquet")
    pd.DataFrame({"image_id": QUERIES}).to_parquet(folder / "queries.parquet")
    pd.DataFrame({"image_id": REFERENCES}).to_parquet(folder / "references.parquet")
    truth = pd.DataFrame({"query_id": QUERIES, "reference_id": [*REFERENCES[:COPIES], *[""] * (24 - COPIES)]})
    truth.to_csv(folder / "truth.csv", index=False)
    hashes = similarities(rng, ["hash"], 1, 1, 0.3, 0.2)[ensembling.FINAL_COLUMNS]
    ensembling.write_final(folder / "hash.csv", hashes)

    common = ["--ensembling", json.dumps(SETTINGS), "--family-sides", json.dumps(SIDES)]
    common += ["--parts", folder / "parts.parquet", "--queries", folder / "queries.parquet"]
    voted = []
    for family, minimum, source in (*((name, 2, name) for name in FAMILIES), ("plain_CC", 3, "tiles")):
        voted.append(folder / f"voted_{source}.parquet")
        files = ["--pairs", folder / f"{source}.parquet", "--output", voted[-1]]
        run("vote_backbones.py", *files, "--family", family, "--minimum", minimum)
    files = ["--voted", *voted[:-1], "--tile-votes", voted[-1], "--output", folder / "final.csv"]
    run("combine_families.py", *files, *common)
    pairs = similarities(rng, [f"pairs_CC.{name}" for name in "abc"], len(KINDS), 1, 0.7, 0.2)
    pairs.to_parquet(folder / "pairs_CC.parquet", index=False)
    files = ["--pairs", folder / "pairs_CC.parquet", "--output", folder / "voted_pairs.parquet"]
    run("vote_backbones.py", *files, "--family", "pairs_CC", "--minimum", 2)
    files = ["--first", folder / "final.csv", "--voted", folder / "voted_pairs.parquet"]
    files += ["--output", folder / "second.csv", "--queries", folder / "queries.parquet"]
    run("combine_second.py", *files, "--ensembling", json.dumps(SETTINGS))
    command = ["--second", folder / "second.csv", "--pair-votes", folder / "voted_pairs.parquet"]
    command += ["--second-submission", json.dumps(SECOND)]
    command += ["--final", folder / "final.csv", "--pairs"]
    command += [folder / f"{family}.parquet" for family in [*FAMILIES, *UNTRAINED]]
    command += ["--tile-pairs", folder / "tiles.parquet", "--hash", folder / "hash.csv", *common]
    command += ["--ground-truth", folder / "truth.csv", "--references", folder / "references.parquet"]
    command += ["--evaluation", json.dumps({**EVALUATION, "validation_copies": 240}), "--seed", 3]
    return folder, [*command, "--families", *FAMILIES, "--untrained", *UNTRAINED]


def run(script, *arguments, expect=0):
    command = [sys.executable, SCRIPTS / script, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == expect, result.stderr
    return result.stderr


def outputs(folder):
    names = {"output": "matching.json", "table": "matching.csv", "curve": "curve.csv", "figure": "curve.png"}
    names["ablation-figure"] = "ablation.png"
    return [item for key, name in names.items() for item in (f"--{key}", folder / name)]


@pytest.fixture(scope="module")
def evaluated(arguments, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    log = run("evaluate.py", *arguments[1], *outputs(out))
    return arguments[0], out, json.loads((out / "matching.json").read_text()), log


def test_every_row_of_the_ablation_is_there(evaluated):
    rows = {row["name"]: row for row in evaluated[2]["rows"]}
    expected = ["full", "without local verification", "without reference tiles", "without rotation"]
    expected += ["without selective search", *FAMILIES]
    models = [f"{family}.{name}" for family in FAMILIES for name in "abc"]
    untrained = [f"{family}.{name}" for family in UNTRAINED for name in "abc"]
    expected += [name for model in [*models, *untrained] for name in (model, f"{model}, whole")]
    expected += ["pretrained_CC", "pretrained_CC + pretrained_BW", "perceptual hash PDQ"]
    expected += ["second submission", "pairs_CC"]
    assert list(rows) == expected
    for row in rows.values():
        low, high = row["interval"]
        assert 0 <= low <= row["micro_ap"] + 0.1
        assert row["micro_ap"] - 0.1 <= high <= 1
        assert row["predictions"] <= 240
        assert (row["threshold"] is None) == (row["recall_at_p90"] == 0)
    table = pd.read_csv(evaluated[1] / "matching.csv")
    assert table["name"].tolist() == expected
    assert table["micro_ap"].tolist() == pytest.approx([row["micro_ap"] for row in rows.values()], abs=1e-6)


def test_rows_are_what_they_say(evaluated):
    """Five rows made again by hand, with other tools: a merge and a loop."""
    folder, _, result, _ = evaluated
    rows = {row["name"]: row for row in result["rows"]}
    truth = ground_truth.positive_pairs(ground_truth.read(folder / "truth.csv"))

    def micro_ap(final):
        final = final.assign(score=final["score"].round(6)).nlargest(240, "score", keep="all")
        return metrics.micro_average_precision(final["score"], metrics.mark_hits(final, truth), len(truth))

    def top_two(table):
        scores = table.groupby(["query_id", "reference_id"])["score"]
        return scores.apply(lambda group: group.astype(float).nlargest(2).mean()).reset_index()

    table = pd.read_parquet(folder / "plain_CC.parquet")
    table["score"] -= np.float32(0.05) * (table["query_part"] > 0)
    single = table[table["model"] == "plain_CC.a"]
    assert rows["plain_CC.a"]["micro_ap"] == pytest.approx(micro_ap(top_two(single)))
    whole = single[single["query_part"] == 0]
    assert rows["plain_CC.a, whole"]["micro_ap"] == pytest.approx(micro_ap(top_two(whole)))
    agree = table.groupby(["query_id", "query_part", "reference_id"])["model"].transform("nunique")
    assert rows["plain_CC"]["micro_ap"] == pytest.approx(micro_ap(top_two(table[agree >= 2])))
    final = ensembling.read_final(folder / "final.csv")
    assert rows["full"]["micro_ap"] == pytest.approx(micro_ap(final))
    # the second submission: the larger score, no penalty
    table = pd.read_parquet(folder / "pairs_CC.parquet")
    agree = table.groupby(["query_id", "query_part", "reference_id"])["model"].transform("nunique")
    voted = table[agree >= 2][final.columns].astype({"score": float})
    tables = (voted, pd.concat([voted, final]))
    larger = [given.groupby(["query_id", "reference_id"], as_index=False).max() for given in tables]
    assert rows["pairs_CC"]["micro_ap"] == pytest.approx(micro_ap(larger[0]))
    assert rows["second submission"]["micro_ap"] == pytest.approx(micro_ap(larger[1]))


def test_the_steps_of_the_ablation_rebuild_the_full_system(arguments):
    """All evidence of the ablation, nothing left out, gives the scores of the workflow's own file."""
    folder, _ = arguments
    evidence = ablation.gather(
        ensembling.read_pairs([folder / f"{family}.parquet" for family in FAMILIES]),
        ensembling.read_pairs([folder / "tiles.parquet"]),
        pd.read_parquet(folder / "parts.parquet"),
        None,
        SIDES,
        ensembling.Ensembling(**SETTINGS),
    )
    rows = ensembling.stack([evidence.pairs[evidence.agreed], evidence.tiles])
    final = ensembling.cut(ensembling.final_scores(rows, "different_evidence"), 10, len(QUERIES))
    written = ensembling.read_final(folder / "final.csv")
    assert final.astype({"query_id": str, "reference_id": str}).equals(
        written.astype({"query_id": str, "reference_id": str})
    )


def test_summary_protocol_and_log(evaluated):
    _, out, result, log = evaluated
    summary, protocol = result["summary"], result["protocol"]
    by_name = {row["name"]: row["micro_ap"] for row in result["rows"]}
    single = sorted(by_name[f"{family}.{name}"] for family in FAMILIES for name in "abc")
    assert summary["median_model"]["micro_ap"] == single[2]
    assert summary["best_model"]["micro_ap"] == single[-1]
    assert summary["full"]["micro_ap"] > summary["without_local_verification"]["micro_ap"]
    assert (protocol["queries"], protocol["references"], protocol["positives"]) == (24, 40, 16)
    assert (protocol["vote"], protocol["tile_vote"], protocol["rows_per_query"]) == (2, 3, 10)
    assert protocol["second_submission"] == SECOND
    assert summary["second_submission"]["micro_ap"] == by_name["second submission"]
    assert "protocol: queries=24" in log
    assert f"full{'':34} {by_name['full']:.3f}" in log
    curve = pd.read_csv(out / "curve.csv")
    full = curve[curve["name"] == "full"]
    assert full["recall"].is_monotonic_increasing
    for figure in ("curve.png", "ablation.png"):
        assert (out / figure).read_bytes().startswith(b"\x89PNG")


def test_same_inputs_give_the_same_bytes(evaluated, arguments, tmp_path):
    run("evaluate.py", *arguments[1], *outputs(tmp_path))
    for name in ("matching.json", "matching.csv", "curve.csv", "curve.png", "ablation.png"):
        assert (tmp_path / name).read_bytes() == (evaluated[1] / name).read_bytes(), name


def test_a_family_without_pairs_and_a_foreign_ground_truth_are_one_sentence(arguments, tmp_path):
    folder, command = arguments
    said = run("evaluate.py", *command, "lost_CC", *outputs(tmp_path), expect=2)
    assert said.endswith("error: Family lost_CC has no pairs in --pairs; take it out of --families/--untrained.\n")
    truth = pd.DataFrame({"query_id": ["x"], "reference_id": ["r00"]})
    with pytest.raises(InputError, match=r"truth\.csv names none of the queries"):
        ablation.task(truth, QUERIES, ablation.Evaluation(**EVALUATION), 0, folder / "truth.csv")


def test_which_queries_count():
    truth = pd.DataFrame({"query_id": ["q00", "q01", "gone"], "reference_id": ["r00", "", "r05"]})
    final = pd.DataFrame({"query_id": ["q05", "q00"], "reference_id": ["r01", "r00"], "score": [0.9, 0.8]})
    values = {}
    for counted in ("all", "listed"):
        evaluation = ablation.Evaluation(**{**EVALUATION, "queries": counted})
        task = ablation.task(truth, QUERIES, evaluation, 0, Path("t"))
        values[counted] = ablation.measure("x", "x", final, task)
    # two true pairs, one of a query that was rejected; the false pair of q05 counts only under `all`
    assert (values["all"].micro_ap, values["listed"].micro_ap) == (0.25, 0.5)
    with pytest.raises(InputError, match="confidence"):
        ablation.Evaluation.from_json('{"queries": "all", "bootstrap_samples": 9}')
    with pytest.raises(InputError, match="names no pair"):
        ablation.task(truth.assign(reference_id=""), QUERIES, evaluation, 0, Path("t"))


def test_an_empty_list_of_matches_measures_zero():
    truth = pd.DataFrame({"query_id": ["q00"], "reference_id": ["r00"]})
    task = ablation.Task(QUERIES, truth, 20, 0.95, 0)
    empty = pd.DataFrame({"query_id": [], "reference_id": [], "score": []}).astype(
        {"query_id": str, "reference_id": str}
    )
    row = ablation.measure("x", "x", empty, task)
    assert (row.micro_ap, row.recall_at_p90, row.threshold, row.recall_at_10) == (0, 0, None, 0)


def test_rows_without_a_hit_are_drawn(tmp_path):
    task = ablation.Task(QUERIES, pd.DataFrame({"query_id": ["q00"], "reference_id": ["r00"]}), 20, 0.95, 0)
    wrong = pd.DataFrame({"query_id": ["q00"], "reference_id": ["r01"], "score": [0.5]})
    groups = ["full", "left out", "family vote", "model", "model, whole pictures"]
    rows = [ablation.measure(group, group, wrong, task) for group in groups]
    assert len(ablation.curves(rows)) == 0
    ablation.draw_precision_recall(ablation.headline_rows(rows), tmp_path / "curve.png")
    ablation.draw_ablation(rows, 0.95, tmp_path / "ablation.png")
    assert {path.name for path in tmp_path.iterdir()} == {"curve.png", "ablation.png"}
