"""The last lines of a run, against folders small enough to count by hand."""

from pathlib import Path

import pytest

from copytrace.outcome import outcome


@pytest.fixture
def results(tmp_path):
    for name, text in {
        "matching.csv": "query_id,reference_id,score\nq,r,0.5\n",
        "matches.csv": 'query_id,reference_id,probability,decision\n"q,\n1",r,0.9,true\nq,s,0.8,true\nq,t,0.1,false\n',
        "images/rejected.csv": "role,path,reason\nqueries,a.jpg,broken\n",
        "report/matches/copies.png": "",
        "descriptors.h5": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def made(results: Path, *names: str) -> set[str]:
    return {f"{results}/{name}" for name in names}


def test_a_run_with_verification_says_how_many_pairs_are_called_copies(results):
    ours = made(results, "matching.csv", "matches.csv", "images/rejected.csv", "report/matches/copies.png")
    assert outcome(str(results), ours) == [
        f"The results are {results}/matching.csv (the ranked list),\n"
        f"  {results}/matches.csv (verified: 2 of 3 pairs are called copies, evidence in {results}/report/matches).",
        f"1 picture was rejected, {results}/images/rejected.csv says why.",
    ]


def test_only_what_belongs_to_the_run_is_named(results):
    assert outcome(str(results), set()) == []
    assert outcome(str(results), made(results, "matching.csv", "matching_second.csv")) == [
        f"The results are {results}/matching.csv (the ranked list)."
    ]
    assert outcome(str(results), made(results, "descriptors.h5")) == [
        f"The results are {results}/descriptors.h5 (the descriptor track)."
    ]


def test_one_pair_is_a_copy_and_none_are(results):
    ours = made(results, "matches.csv", "images/rejected.csv")
    for decision, words in (("true", "1 of 1 pair is called a copy"), ("false", "0 of 1 pair are called copies")):
        (results / "matches.csv").write_text(f"query_id,decision\nq,{decision}\n")
        assert words in outcome(str(results), ours)[0]
    (results / "images" / "rejected.csv").write_text("role,path,reason\n")
    assert outcome(str(results), ours)[1] == "No picture was rejected."
    (results / "images" / "rejected.csv").write_text("role,path,reason\nqueries,a,b\nqueries,b,b\n")
    assert outcome(str(results), ours)[1].startswith("2 pictures were rejected, ")
