import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from copytrace import ground_truth
from copytrace.runtime import InputError

SCRIPT = Path(__file__).parent.parent / "workflow_scripts" / "check_ground_truth.py"


def check_script(*arguments, folder):
    return subprocess.run([sys.executable, SCRIPT, *arguments], cwd=folder, capture_output=True, text=True)


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
        ("query_id,reference_id\n", "no rows"),
        ("Q1,R1,0.5\n", "3 columns"),
        ("Q1\nQ2\n", "1 columns"),
        ("Q1,R1\n,R2\n", "row 2"),
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
    for path in (tmp_path / "missing.csv", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            ground_truth.read(path)


def test_ground_truth_must_name_known_pictures():
    truth = pd.DataFrame({"query_id": ["Q1", "Q2", "Q3"], "reference_id": ["R1", "", "R9"]})
    ground_truth.check(truth, ["Q1", "Q2", "Q3", "Q4"], ["R1", "R9"])
    with pytest.raises(InputError, match=r"1 references .* the first is 'R9'"):
        ground_truth.check(truth, ["Q1", "Q2", "Q3"], ["R1"])
    with pytest.raises(InputError, match=r"2 queries .* the first is 'Q2'"):
        ground_truth.check(truth, ["Q1"], ["R1"])


def test_the_script_writes_one_form(tmp_path):
    (tmp_path / "truth.csv").write_text("Q1,R1\nQ2,\n")
    for role, known in (("queries", ["Q1", "Q2"]), ("references", ["R1", "R2"])):
        pd.DataFrame({"image_id": known, "path": known}).to_parquet(tmp_path / f"{role}.parquet")
    flags = ["--queries", "queries.parquet", "--references", "references.parquet", "--output", "out.csv"]
    assert check_script("--ground-truth", "truth.csv", *flags, folder=tmp_path).returncode == 0
    assert (tmp_path / "out.csv").read_text() == "query_id,reference_id\nQ1,R1\nQ2,\n"
    (tmp_path / "truth.csv").write_text("Q1,R3\n")
    done = check_script("--ground-truth", "truth.csv", *flags, folder=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("error: the ground truth names 1 references")
