"""The stage's scripts on a few pictures: the same bytes whatever the sharding, candidates, decisions, refusals."""

import runpy

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from running import REPOSITORY
from scipy.stats import binomtest

from copytrace import evidence_gallery
from copytrace.errors import InputError
from copytrace.sample import scenes
from copytrace.verification import evaluation, fusion
from copytrace.verification.feature_files import FeatureFiles
from copytrace.verification.frames import corners, project
from copytrace.verification.matches import COLUMNS, DEFAULT_FUSION, judge, read_matches
from copytrace.verification.overlays import overlays
from copytrace.verification.pair_files import POINTS, SCHEMA, read_pairs, write_pairs
from copytrace.verification.pairs import unite

FEATURES = '{"keypoints": 150, "contrast": 0.01, "longer_side": 160}'
INDEX = '{"kind": "exact", "keypoints": 100, "lists": 8, "probes": 4, "code_bytes": 16}'
SHARED = '{"kind": "exact", "lists": 8, "probes": 4}'
SEARCH = '{"keypoints": 100, "neighbours": 5}'
CANDIDATES = '{"local": 2, "matching": 2, "list": 2}'
SIDE = 160
HALF = np.array([[0.5, 0, 20], [0, 0.5, 30], [0, 0, 1]])  # the last query: a reference at half its size in another


def run(monkeypatch, script, *arguments):
    """A script's own main, with a command line."""
    path = REPOSITORY / "workflow_scripts" / f"{script}.py"
    monkeypatch.setattr("sys.argv", [str(path), *map(str, arguments), "--threads", "1"])
    runpy.run_path(str(path))["main"]()


def pictures():
    """References, training pictures and queries: a plain copy, a mirrored one, a flat picture, one inside another."""

    def scene(role, number):
        return scenes.render(scenes.scene(0, role, number), SIDE)

    references = {f"R{number}": scene("references", number) for number in range(7)}
    references["flat"] = np.full((40, 60, 3), 90, np.uint8)
    training = {f"T{number}": scene("training", number) for number in range(3)}
    inside = scene("queries", 3).copy()
    shown = cv2.warpAffine(references["R5"], HALF[:2], inside.shape[1::-1], flags=cv2.INTER_AREA)
    mask = cv2.warpAffine(np.ones(references["R5"].shape[:2], np.uint8), HALF[:2], inside.shape[1::-1])
    inside[mask > 0] = shown[mask > 0]
    queries = {
        "copy": references["R2"][10:140, 5:150],
        "mirrored": references["R4"][:, ::-1],
        "flat": np.full((50, 50, 3), 200, np.uint8),
        "inside": inside,
        "other": scene("queries", 7),
    }
    return {"references": references, "training": training, "queries": queries}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Manifests of the three roles, and a ranked list of the first queries."""
    folder = tmp_path_factory.mktemp("stage")
    for role, named in pictures().items():
        (folder / role).mkdir()
        rows = []
        for name, picture in named.items():
            path = folder / role / f"{name}.png"
            Image.fromarray(np.ascontiguousarray(picture)).save(path)
            rows.append((name, str(path), picture.shape[1], picture.shape[0]))
        table = pd.DataFrame(rows, columns=["image_id", "path", "width", "height"])
        table.to_parquet(folder / f"{role}.parquet")
    ranked = [("copy", "R2", 0.5), ("flat", "flat", 0.4), ("copy", "R6", 0.3), ("flat", "R0", 0.2), ("copy", "R1", 0.1)]
    pd.DataFrame(ranked, columns=["query_id", "reference_id", "score"]).to_csv(folder / "matching.csv", index=False)
    return folder


def extract(monkeypatch, folder, role, shards, *more):
    files = [folder / f"{role}-{shard}-of-{shards}.h5" for shard in range(shards)]
    for shard, file in enumerate(files):
        run(monkeypatch, "extract_features", "--manifest", folder / f"{role}.parquet", "--features", FEATURES,
            "--shard", shard, "--shards", shards, "--output", file, *more)  # fmt: skip
    return files


def verified(monkeypatch, folder, references, queries):
    """The list of matches of so many shards, and the tables of pairs."""
    features = extract(monkeypatch, folder, "references", references)
    training = extract(monkeypatch, folder, "training", 1, "--pictures", 2)
    index, background = folder / f"{references}.faiss", folder / "background.faiss"
    run(monkeypatch, "index_references", "--features", *features, "--index", INDEX, "--output", index)
    run(monkeypatch, "index_background", "--unrelated", *training, "--features", FEATURES, "--index", SHARED,
        "--output", background)  # fmt: skip
    tables = []
    for shard, file in enumerate(extract(monkeypatch, folder, "queries", queries)):
        tables.append(folder / f"{references}-{queries}-{shard}.parquet")
        run(monkeypatch, "measure_pairs", "--queries", file, "--references", *features, "--background", background,
            "--index", index, "--final", folder / "matching.csv", "--candidates", CANDIDATES, "--search", SEARCH,
            "--output", tables[-1])  # fmt: skip
    output = folder / f"{references}-{queries}.csv"
    run(monkeypatch, "judge_pairs", "--pairs", *tables, "--output", output)
    return output, tables


@pytest.fixture(scope="module")
def once(folder):
    with pytest.MonkeyPatch.context() as patch:
        return verified(patch, folder, 1, 1)


def test_other_shards_give_the_same_bytes(folder, once, monkeypatch):
    """Seven shards of five queries: some are empty."""
    assert verified(monkeypatch, folder, 3, 7)[0].read_bytes() == once[0].read_bytes()


def test_a_rerun_gives_the_same_bytes(folder, once, monkeypatch):
    before = once[0].read_bytes()
    assert verified(monkeypatch, folder, 1, 1)[0].read_bytes() == before


def test_copies_stand_first_with_their_boxes(once):
    matches = read_matches(once[0])
    assert list(matches.columns) == COLUMNS
    order = matches.sort_values(["probability", "query_id", "reference_id"], ascending=[False, True, True])
    assert order.index.tolist() == list(range(len(matches)))
    assert matches.probability.between(0, 1).all() and matches.probability.gt(0.5).tolist()[:3] == [True] * 3
    found = matches.set_index(["query_id", "reference_id"])
    assert set(found.index[:3]) == {("copy", "R2"), ("mirrored", "R4"), ("inside", "R5")}
    assert found.mirrored[:3].sum() == found.mirrored["mirrored", "R4"] == 1
    box = found.loc[("inside", "R5"), ["query_x0", "query_y0", "query_x1", "query_y1"]].to_numpy(float)
    reference = pictures()["references"]["R5"]
    expected = project(HALF, corners(reference.shape[1::-1])) + 0.5
    assert np.abs(box - [*expected.min(axis=0), *expected.max(axis=0)]).max() < 3
    box = found.loc[("copy", "R2"), ["reference_x0", "reference_y0", "reference_x1", "reference_y1"]].to_numpy(float)
    height, width = pictures()["references"]["R2"].shape[:2]
    assert np.abs(box - [5, 10, min(150, width), min(140, height)]).max() < 3
    transform = np.array(found.loc[("copy", "R2"), "transform"].split(), float).reshape(3, 3)
    assert np.abs(project(transform, np.array([[50.0, 60]])) - [45, 50]).max() < 1.5


def test_candidates_come_from_both_sources(once):
    pairs = read_pairs(once[1], SCHEMA.names)
    sources = {query: set(rows.reference_id) for query, rows in pairs.groupby("query_id")}
    assert sources["flat"] == {"flat", "R0"}  # no keypoint, so that only the ranked list has candidates
    assert sources["copy"] >= {"R2", "R6"} and len(sources["copy"]) <= 4
    assert all(len(references) == 2 for query, references in sources.items() if query not in ("copy", "flat"))
    scores = pairs.set_index(["query_id", "reference_id"]).global_score
    assert scores["copy", "R6"] == 0.3 and np.isnan(scores["inside"]).all()
    flat = pairs[pairs.query_id == "flat"]
    assert flat.votes.isna().all() and not flat.inliers.any() and np.isnan(np.stack(flat["transform"])).all()
    shown = pairs[["query_id", "reference_id"]][2:4]
    some = read_pairs(once[1], ["query_id", "reference_id", *POINTS], shown)
    assert some[["query_id", "reference_id"]].values.tolist() == shown.values.tolist()
    assert (pairs.query_points.map(len) == 2 * pairs.inliers).all()


def test_candidates_of_all_lists_are_united():
    local = pd.DataFrame({"reference": [4, 1], "votes": [9.0, 3.0]})
    ranked = pd.DataFrame({"reference": [7, 1], "score": [0.9, 0.5]})
    listed = pd.DataFrame({"reference": [2, 4], "score": [-0.1, -0.2]})
    found = dict(unite(local, ranked, listed))
    assert list(found) == [1, 2, 4, 7]
    assert found[1] == {"votes": 3.0, "global_score": 0.5}
    assert found[4]["votes"] == 9 and np.isnan(found[4]["global_score"])
    assert np.isnan(found[7]["votes"]) and found[7]["global_score"] == 0.9
    assert np.isnan([*found[2].values()]).all()


def test_another_list_proposes_its_best_without_their_scores(folder, monkeypatch, tmp_path):
    rows = [("copy", "R1", -0.9), ("copy", "R3", -0.2), ("copy", "R0", -0.3), ("flat", "R2", 5.0)]
    pd.DataFrame(rows, columns=["query_id", "reference_id", "score"]).to_csv(tmp_path / "list.csv", index=False)
    run(monkeypatch, "measure_pairs", "--queries", folder / "queries-0-of-1.h5", "--references",
        folder / "references-0-of-1.h5", "--background", folder / "background.faiss", "--list", tmp_path / "list.csv",
        "--candidates", '{"local": 3, "matching": 2, "list": 2}', "--search", SEARCH,
        "--output", tmp_path / "pairs.parquet")  # fmt: skip
    pairs = read_pairs([tmp_path / "pairs.parquet"], ["query_id", "reference_id", "global_score"])
    assert pairs.values[:, :2].tolist() == [["copy", "R0"], ["copy", "R3"], ["flat", "R2"]]
    assert pairs.global_score.isna().all()


def test_a_ranked_list_of_other_references_is_refused(folder, once, monkeypatch, tmp_path):
    (tmp_path / "other.csv").write_text("query_id,reference_id,score\ncopy,R2,0.5\ncopy,elsewhere,0.4\n")
    with pytest.raises(
        InputError, match=r"matching\.csv has the reference elsewhere, which is not among those of this run"
    ):
        run(monkeypatch, "measure_pairs", "--queries", folder / "queries-0-of-1.h5", "--references",
            folder / "references-0-of-1.h5", "--background", folder / "background.faiss", "--final",
            tmp_path / "other.csv", "--candidates", CANDIDATES, "--search", SEARCH, "--output",
            tmp_path / "pairs.parquet")  # fmt: skip
    assert not (tmp_path / "pairs.parquet").exists()


def test_another_list_is_no_list_of_verified_matches(folder):
    with pytest.raises(InputError, match=r"matching\.csv is no list of verified matches"):
        read_matches(folder / "matching.csv")


def test_the_decision_can_be_set_by_hand(once, monkeypatch, tmp_path):
    run(monkeypatch, "judge_pairs", "--pairs", *once[1], "--decision", "0", "--output", tmp_path / "all.csv")
    matches = read_matches(tmp_path / "all.csv")
    assert matches.decision.all() and not read_matches(once[0]).decision.all()
    trees = fusion.read_fusion(DEFAULT_FUSION)
    assert (judge(read_pairs(once[1], SCHEMA.names), trees, 1.1).decision == 0).all()


def test_no_pairs_make_an_empty_list(tmp_path, monkeypatch):
    write_pairs(tmp_path / "none.parquet", iter([[]]))
    run(monkeypatch, "judge_pairs", "--pairs", tmp_path / "none.parquet", "--output", tmp_path / "matches.csv")
    assert (tmp_path / "matches.csv").read_text() == ",".join(COLUMNS) + "\n"


# ----------------------------------------------------------------------------------------- trees of the run's own


SIZES = '{"originals": 16, "negatives": 6, "pool": 9}'


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """A manifest of training pictures, some of them flat or a strip, and the background made of five of them."""
    folder = tmp_path_factory.mktemp("training")
    named = {f"T{number}": scenes.render(scenes.scene(0, "training", number), SIDE) for number in range(32)}
    named |= {"flat": np.full((40, 60, 3), 90, np.uint8), "grey": np.full((1, 1, 3), 50, np.uint8)}
    named |= {"strip": named["T0"][50:53], "line": named["T1"][:1], "white": np.full((70, 70, 3), 255, np.uint8)}
    rows = []
    for name, picture in named.items():
        Image.fromarray(np.ascontiguousarray(picture)).save(folder / f"{name}.png")
        rows.append((name, str(folder / f"{name}.png"), picture.shape[1], picture.shape[0]))
    table = pd.DataFrame(rows, columns=["image_id", "path", "width", "height"])
    table.to_parquet(folder / "training.parquet")
    with pytest.MonkeyPatch.context() as patch:
        unrelated = extract(patch, folder, "training", 1, "--pictures", 5)
        run(patch, "index_background", "--unrelated", *unrelated, "--features", FEATURES, "--index", SHARED,
            "--output", folder / "background.faiss")  # fmt: skip
    return folder


def chosen(monkeypatch, folder, output, sizes=SIZES):
    """The parts that training pictures play, in the folder `output`."""
    run(monkeypatch, "choose_trial_pictures", "--pictures", folder / "training.parquet", "--background",
        folder / "training-0-of-1.h5", "--sizes", sizes, "--seed", 0,
        *(f"--{part}={output}/{part}.parquet" for part in ("originals", "negatives", "pool")))  # fmt: skip


def fitted(monkeypatch, folder, output, shards):
    """The plan of the trial queries and the trees fitted to them, in `output`, by so many jobs."""
    chosen(monkeypatch, folder, output)
    described = {part: extract(monkeypatch, output, part, shards) for part in ("originals", "pool")}
    plan, index = output / "plan.parquet", output / "originals.faiss"
    run(monkeypatch, "index_references", "--features", *described["originals"], "--index", INDEX, "--output", index)
    run(monkeypatch, "plan_trials", "--originals", output / "originals.parquet", "--negatives",
        output / "negatives.parquet", "--pool", output / "pool.parquet", "--features", *described["pool"], "--index",
        index, "--copies", 14, "--look-alikes", 5, "--search", SEARCH, "--output", plan)  # fmt: skip
    tables = []
    for shard in range(shards):
        queries, pairs = output / f"trials-{shard}.h5", output / f"pairs-{shard}.parquet"
        run(monkeypatch, "extract_trials", "--plan", plan, "--foreign", output / "pool.parquet", "--features", FEATURES,
            "--seed", 0, "--shard", shard, "--shards", shards, "--output", queries)  # fmt: skip
        run(monkeypatch, "measure_pairs", "--queries", queries, "--references", *described["originals"],
            "--background", folder / "background.faiss", "--index", index, "--candidates", CANDIDATES, "--search",
            SEARCH, "--output", pairs)  # fmt: skip
        tables.append(pairs)
    fit(monkeypatch, tables, plan, output)
    return output


def fit(monkeypatch, tables, plan, output):
    run(monkeypatch, "fit_fusion", "--pairs", *tables, "--truth", plan, "--precision", 0.3, "--output",
        output / "trees.json", "--reliability", output / "table.csv", "--figure", output / "figure.png")  # fmt: skip


@pytest.fixture(scope="module")
def own_trees(training, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        return fitted(patch, training, tmp_path_factory.mktemp("trees"), 1)


def test_other_shards_fit_the_same_trees(training, own_trees, monkeypatch, tmp_path):
    again = fitted(monkeypatch, training, tmp_path, 3)
    for name in ("originals.parquet", "negatives.parquet", "pool.parquet", "plan.parquet", "trees.json", "table.csv"):
        assert (again / name).read_bytes() == (own_trees / name).read_bytes(), name


def test_no_picture_plays_two_parts_and_none_is_in_the_background(training, own_trees):
    parts = [pd.read_parquet(own_trees / f"{part}.parquet") for part in ("originals", "negatives", "pool")]
    assert list(map(len, parts)) == [16, 6, 9]
    background = FeatureFiles([str(training / "training-0-of-1.h5")]).image_ids
    everything = pd.concat(parts).image_id.tolist() + background
    assert len(set(everything)) == len(everything) == 16 + 6 + 9 + 5
    plan = pd.read_parquet(own_trees / "plan.parquet")
    assert plan.role.value_counts().to_dict() == {"copy": 14, "negative": 6, "look-alike": 5}
    for role, part in (("copy", parts[0]), ("negative", parts[1]), ("look-alike", parts[2])):
        assert set(plan.path[plan.role == role]) <= set(part.path)


def test_the_trees_of_the_run_judge_without_global_scores(own_trees, once, monkeypatch, tmp_path):
    trees = fusion.read_fusion(own_trees / "trees.json")
    assert not {"global_score", "global_margin"} & set(trees.features) and "log_inliers" in trees.features
    run(monkeypatch, "judge_pairs", "--pairs", *once[1], "--fusion", own_trees / "trees.json", "--output",
        tmp_path / "matches.csv")  # fmt: skip
    matches = read_matches(tmp_path / "matches.csv")
    assert len(matches) == len(read_matches(once[0]))
    best = matches.drop_duplicates("query_id").set_index("query_id").reference_id
    assert best[["copy", "mirrored", "inside"]].tolist() == ["R2", "R4", "R5"]


def test_too_few_training_pictures_are_one_sentence(training, monkeypatch, tmp_path):
    with pytest.raises(InputError, match=r"verification\.fitting asks for 33 .* beside the 5 .* there are only 32"):
        chosen(monkeypatch, training, tmp_path, SIZES.replace("16", "18"))
    assert not list(tmp_path.iterdir())


def test_originals_without_keypoints_are_one_sentence(training, monkeypatch, tmp_path):
    table = pd.read_parquet(training / "training.parquet").set_index("image_id")
    table.loc[["flat", "grey", "white"]].reset_index().to_parquet(tmp_path / "originals.parquet")
    described = extract(monkeypatch, tmp_path, "originals", 2)
    with pytest.raises(InputError, match="there are no local features to index"):
        run(monkeypatch, "index_references", "--features", *described, "--index", INDEX, "--output", tmp_path / "index")


@pytest.mark.parametrize("kept", [0, 1])
def test_without_copies_among_the_candidates_no_trees_are_fitted(own_trees, monkeypatch, tmp_path, kept):
    """None, or one: the trees that judge it would see none."""
    truth = pd.read_parquet(own_trees / "plan.parquet").set_index("query_id").reference_id
    pairs = pd.read_parquet(own_trees / "pairs-0.parquet")
    copies = pairs.reference_id == pairs.query_id.map(truth)
    assert copies.sum() > 5
    pairs[~copies | (copies.cumsum() <= kept)].to_parquet(tmp_path / "pairs.parquet")
    with pytest.raises(InputError, match="of the candidates to learn from 0 are copies and"):
        fit(monkeypatch, [tmp_path / "pairs.parquet"], own_trees / "plan.parquet", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.parquet"]


def test_without_candidates_no_trees_are_fitted(own_trees, monkeypatch, tmp_path):
    write_pairs(tmp_path / "pairs.parquet", iter([[]]))
    with pytest.raises(InputError, match="of the candidates to learn from 0 are copies and 0 others"):
        fit(monkeypatch, [tmp_path / "pairs.parquet"], own_trees / "plan.parquet", tmp_path)


def test_overlays_are_the_same_every_time_and_not_flat():
    first, second = list(overlays()), list(overlays())
    assert len(first) > 50 and all(np.array_equal(*pair) for pair in zip(first, second, strict=True))
    assert min(page.std() for page in first) > 10


# ----------------------------------------------------------------------------------------- galleries and evaluation


def test_sheets_show_the_reference_where_it_lies():
    """Laid over the query, the reference is where the query's own pixels are."""
    named = pictures()
    query, reference = named["queries"]["inside"], named["references"]["R5"]
    region = project(HALF, corners(reference.shape[1::-1])) + 0.5
    there, laid = (np.asarray(panel, int) for panel in evidence_gallery.laid_over(query, reference, HALF, region))
    inner = slice(20, -20), slice(20, -20)
    assert np.abs(there[inner] - laid[inner]).mean() < 12
    assert np.abs(there[inner] - laid[inner][:, ::-1]).mean() > 20
    turned = np.asarray(evidence_gallery.laid_over(query, reference[:, ::-1], HALF, region)[1], int)
    assert np.abs(there[inner] - turned[inner]).mean() > 20


def listed(rows):
    return pd.DataFrame(rows, columns=["query_id", "reference_id", "probability"]).assign(
        decision=lambda table: table.probability >= 0.5
    )


MATCHES = listed([("a", "x", 0.9), ("b", "y", 0.8), ("c", "z", 0.5), ("a", "y", 0.4), ("d", "w", 0.2)])
TRUTH = pd.DataFrame({"query_id": ["a", "b", "d"], "reference_id": ["x", "", "w"]})


@pytest.mark.parametrize(
    "count, verdicts",
    [("all", ["right", "wrong", "wrong", "right", "wrong"]), ("listed", ["right", "wrong", "", "right", "wrong"])],
)
def test_decisions_are_judged_by_the_truth(count, verdicts):
    assert evidence_gallery.judge_decisions(MATCHES, TRUTH, count).verdict.tolist() == verdicts
    assert (evidence_gallery.judge_decisions(MATCHES, None, count).verdict == "").all()


def test_sheets_show_the_surest_and_those_next_to_the_decision():
    assert evidence_gallery.choose_copies(MATCHES, 2).pairs.query_id.tolist() == ["a", "c"]
    assert evidence_gallery.choose_doubtful(MATCHES, 2).pairs.probability.tolist() == [0.5, 0.4]
    assert evidence_gallery.choose_doubtful(MATCHES, 9).pairs.probability.tolist() == MATCHES.probability.tolist()
    assert evidence_gallery.choose_doubtful(MATCHES[:3], 2).pairs.probability.tolist() == [0.8, 0.5]
    nothing = MATCHES[MATCHES.decision & ~MATCHES.decision]
    assert evidence_gallery.choose_copies(nothing, 3).title == "No pair is called a copy"
    assert evidence_gallery.choose_doubtful(nothing, 3).title == "No pair was verified"


def test_no_probability_is_said_to_be_one_or_zero():
    said = {1.0: "> 0.999", 0.99999: "> 0.999", 0.9994: "0.999", 0.5: "0.500", 0.0005: "0.001", 0.0004: "< 0.001"}
    assert {probability: evidence_gallery.in_words(probability) for probability in said} == said


@pytest.fixture
def task():
    from copytrace.ablation import Task

    truth = pd.DataFrame({"query_id": ["a", "d", "e"], "reference_id": ["x", "w", "v"]})
    return Task(list("abcde"), truth, samples=400, confidence=0.95, seed=0)


def test_precision_and_recall_at_the_decision(task):
    decided = evaluation.at_decision(MATCHES, task)
    assert (decided["called"], decided["right"]) == (3, 1)
    assert decided["precision"] == pytest.approx(1 / 3) and decided["recall"] == pytest.approx(1 / 3)
    for measure in ("precision", "recall"):
        low, high = decided[f"{measure}_interval"]
        assert 0 <= low < decided[measure] < high <= 1
    nobody = evaluation.at_decision(MATCHES.assign(decision=False), task)
    assert nobody["precision"] is None and nobody["recall"] == 0


def test_recall_at_precision_on_every_draw(task):
    """Against a table in which each query's rows stand as often as it was drawn."""
    from copytrace import metrics

    final = MATCHES.rename(columns={"probability": "score"})
    hits = metrics.mark_hits(final, task.truth)
    draw = np.random.default_rng(3)
    times = draw.integers(0, 3, (50, 5))
    weights = times[:, ["abcde".index(query) for query in final.query_id]]
    positives = times[:, [0, 3, 4]].sum(axis=1)
    seen = []

    def keep(final, truth, queries, measure, samples, rng, hits):
        seen.append(measure(hits, weights, positives))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "bootstrap_values", keep)
        evaluation.recall_interval(final, task)
    for row, count, value in zip(weights, positives, seen[0]):
        if not count:
            assert np.isnan(value)
            continue
        scores, repeated = np.repeat(final.score.to_numpy(), row), np.repeat(hits, row)
        assert value == metrics.recall_at_precision(scores, repeated, int(count))[0]


def test_reliability_counts_pairs_by_probability(task):
    table = evaluation.reliability(MATCHES, task)
    assert table[["low", "pairs", "observed"]].to_numpy().tolist() == [
        [0.2, 1, 1.0], [0.4, 1, 0.0], [0.5, 1, 0.0], [0.8, 1, 0.0], [0.9, 1, 1.0]
    ]  # fmt: skip


def test_steps_score_the_candidates_that_each_has():
    pairs = pd.DataFrame(
        {"hash_distance": [40, 120, 80], "inliers": [3, 0, 30], "local_ncc": [0.5, 0.1, 0.9]}, index=[4, 5, 6]
    )
    score = pd.Series([0.2, 0.3, np.nan], index=pairs.index)
    steps = evaluation.steps(pairs, score, score.notna())
    alike = 1 / (1 + np.exp(-score))
    expected = {
        "candidates of the ranked list": [0.2, 0.3, np.nan],
        "+ hash": [0.2 + 0.5, 0.3, np.nan],
        "+ verification: inliers": [3 + alike[4], alike[5], np.nan],
        "+ other candidates": [3 + alike[4], alike[5], 30],
        "+ alignment: inliers × NCC": [(3 + alike[4]) * 0.501, alike[5] * 0.101, 30 * 0.901],
    }
    assert list(steps) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(steps[name], values)


def test_recall_by_kind_of_edit(task):
    """Query e is of the same kind as a, and has no match; d's stands behind another."""
    final = MATCHES.rename(columns={"probability": "score"})
    final = pd.concat([final, final[final.query_id == "d"].assign(reference_id="x", score=0.3)])
    kinds = pd.Series({"a": "crop", "d": "blur", "e": "crop", "b": "blur"})
    table = evaluation.recall_by_kind({"it": final}, kinds, task).set_index("kind")
    assert table["value"].to_dict() == {"crop": 0.5, "blur": 0.0} and set(table["list"]) == {"it"}
    interval = binomtest(1, 2).proportion_ci(method="exact")
    assert table.loc["crop", ["low", "high"]].tolist() == pytest.approx([interval.low, interval.high])
