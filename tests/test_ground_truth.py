import os

import pandas as pd
import pytest

from copytrace import ground_truth
from copytrace.errors import InputError


@pytest.mark.parametrize("header", ["query_id,reference_id\n", ""])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_ground_truth_with_and_without_header(tmp_path, header, newline):
    text = header + 'Q1,R1\nQ2,\nQ3,R7\nQ3,R8\n"Q,4",NA\n007,nan\nQ1,R1\n'
    (tmp_path / "truth.csv").write_text(text.replace("\n", newline), newline="")
    truth = ground_truth.read(tmp_path / "truth.csv")
    rows = [["Q1", "R1"], ["Q2", ""], ["Q3", "R7"], ["Q3", "R8"], ["Q,4", "NA"], ["007", "nan"]]
    assert truth.to_numpy().tolist() == rows
    assert list(truth.columns) == ["query_id", "reference_id"]


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "is empty"),
        ("query_id,reference_id\n", "names no pair"),
        ("Q1,\nQ2,\n", "names no pair"),
        ("Q1,R1,0.5\n", "3 columns"),
        ("Q1\nQ2\n", "1 columns"),
        ("Q1,R1\n,R2\n", "row 2"),
        ("Q1,R1\nQ2,\nQ2,R3\n", r"of the query 'Q2' both that it has a source and .* none$"),
        ("Q1,R1\nQ2,\nQ2,R3\nQ1,\n", r"of 2 queries both .* a source and .* none; the first is 'Q2'"),
        ("Q1,R1\nQ2,R2,R3\n", "not a CSV"),
        ('"Q1,R1\n', "not a CSV"),
        ("Q1,R\udcff\n", "not a CSV"),
    ],
)
def test_broken_ground_truth(tmp_path, text, reason):
    (tmp_path / "truth.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=reason) as mistake:
        ground_truth.read(tmp_path / "truth.csv")
    assert "truth.csv" in str(mistake.value)


def test_missing_ground_truth(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "missing.csv", tmp_path, tmp_path / "pipe.csv"):
        with pytest.raises(InputError, match="cannot be read"):
            ground_truth.read(path)


def test_ground_truth_must_name_known_pictures():
    truth = pd.DataFrame({"query_id": ["Q1", "Q2", "Q3"], "reference_id": ["R1", "", "R9"]})
    ground_truth.check(truth, ["Q1", "Q2", "Q3", "Q4"], ["R1", "R9"])
    with pytest.raises(InputError, match=r"names a reference that is not .*: 'R9' \("):
        ground_truth.check(truth, ["Q1", "Q2", "Q3"], ["R1"])
    with pytest.raises(InputError, match=r"2 queries .* the first is 'Q2'"):
        ground_truth.check(truth, ["Q1"], ["R1"])
    with_ending = pd.DataFrame({"query_id": ["a/Query 17.jpg"], "reference_id": [""]})
    with pytest.raises(InputError, match=r"'a/Query 17\.jpg', did you mean 'a/Query 17'\?"):
        ground_truth.check(with_ending, ["a/Query 16", "a/Query 17", "other"], [])


@pytest.mark.parametrize("header", ["query,reference", "copy,original", "Query ID,Ref ID"])
def test_a_header_of_other_words_is_taken_for_one(tmp_path, header):
    (tmp_path / "truth.csv").write_text(f"{header}\nQ1,R1\nQ2,R2\nQ3,\n")
    truth = ground_truth.read(tmp_path / "truth.csv")
    with pytest.raises(InputError, match=f"begins with '{header}', .* must be query_id,reference_id or left out"):
        ground_truth.check(truth, ["Q1", "Q2", "Q3"], ["R1", "R2"])


def test_a_first_pair_of_wrong_ids_is_no_header():
    truth = pd.DataFrame({"query_id": ["q1.jpg", "q2.jpg"], "reference_id": ["r1.jpg", "r2.jpg"]})
    with pytest.raises(InputError, match=r"names 2 queries .* the first is 'q1\.jpg', did you mean 'q1'\?"):
        ground_truth.check(truth, ["q1", "q2"], ["r1", "r2"])
