"""What scripts share: processes and their memory."""

import contextlib
import os
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import cv2
import pandas as pd
import psutil
import pytest

from copytrace import runtime
from copytrace.errors import InputError


def look_around(offset, number):
    if number < 0:
        raise InputError(f"{number} is negative.")
    return number + offset, os.getpid(), os.environ["OMP_NUM_THREADS"], cv2.getNumThreads()


@pytest.fixture(autouse=True)
def _threads_put_back(monkeypatch):
    threads = cv2.getNumThreads()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    yield
    cv2.setNumThreads(threads)


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_order_from_processes_of_one_thread(processes):
    results = list(runtime.in_processes(partial(look_around, 100), range(20), processes))
    assert [value for value, *_ in results] == list(range(100, 120))
    assert (os.getpid() in {pid for _, pid, *_ in results}) == (processes == 1)
    assert {threads for *_, threads, _ in results} == {"1"}
    assert {threads for *_, threads in results} == {1}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_mistake_is_raised_where_the_results_are_read(processes):
    with pytest.raises(InputError, match="-1 is negative"):
        list(runtime.in_processes(partial(look_around, 0), [1, -1], processes))


ENDLESS = """
import time
from pathlib import Path
from copytrace import runtime

def work(number):
    Path(f"begun-{number}").touch()
    time.sleep(0 if number else 10_000)

if __name__ == "__main__":
    list(runtime.in_processes(work, range(8), 2))  # four at a time
"""


def is_at_work(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE  # ended, but nobody has asked how
    return False


def wait_for(condition):
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_processes_end_with_the_one_that_started_them(tmp_path):
    """After `kill -9` it can't tell them: neither the one at work nor the one that waits for work."""
    (tmp_path / "endless.py").write_text(ENDLESS)
    environment = os.environ | {"PYTHONPATH": str(Path(runtime.__file__).parents[1])}
    command = [sys.executable, "endless.py"]
    parent = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    children = []
    try:
        wait_for(lambda: (tmp_path / "begun-0").exists() and (tmp_path / "begun-7").exists())
        children = psutil.Process(parent.pid).children()
        assert len(children) >= 2
        parent.kill()
        wait_for(lambda: not any(map(is_at_work, children)))
    finally:
        parent.kill()
        parent.wait()
        for child in filter(is_at_work, children):
            child.kill()


HOLDING = """
import threading
import time
from functools import partial
from pathlib import Path
from copytrace import runtime

def hold(number):
    kept = bytearray(200_000_000)
    kept[::4096] = b"x" * len(kept[::4096])
    while not Path("seen").exists():
        time.sleep(0.05)

def look():
    while runtime.peak_memory_mb() < 400:  # each of the two holds less
        time.sleep(0.05)
    Path("seen").touch()

def main():
    threading.Thread(target=look, daemon=True).start()
    list(runtime.in_processes(hold, range(8), 2))  # four at a time go to one process

if __name__ == "__main__":
    runtime.run(main)
"""


def run_in(folder, code):
    (folder / "job.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": str(Path(runtime.__file__).parents[1])}
    command = [sys.executable, "job.py"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def test_peak_memory_counts_what_all_processes_hold_together(tmp_path):
    job = run_in(tmp_path, HOLDING)
    assert job.returncode == 0, job.stderr
    assert 400 <= float(re.search(r"done in [\d.]+ s, peak memory (\d+) MB", job.stderr)[1]) < 800


JOB = """
from copytrace import runtime
from copytrace.errors import InputError

def main():
    parser = runtime.Arguments("A job.")
    parser.add_input("--tables", nargs="+", default=[f"{number}.csv" for number in range(9)])
    parser.add_input("--faces")
    parser.add_output("--output", default="all.csv")
    parser.add_argument("--seed", default=7)
    parser.add_argument("--settings", default={"a": 1})
    parser.parse()
    END

runtime.run(main)
"""


@pytest.mark.parametrize(
    "end, status, lines",
    [
        ("pass", 0, ["done in 0 s, peak memory 0 MB"]),
        ("raise InputError('0.csv is empty')", 2, ["failed after 0 s, peak memory 0 MB", "error: 0.csv is empty"]),
    ],
)
def test_a_log_begins_with_the_files_and_ends_with_how_it_went(tmp_path, end, status, lines):
    job = run_in(tmp_path, JOB.replace("END", end))
    assert job.returncode == status
    said = [re.sub(r"^[\d:]{8} ", "", line) for line in job.stderr.splitlines()]
    assert said[:4] == ["job.py", "input, tables: 0.csv … 8.csv (9 files)", "output: all.csv", "settings: seed=7"]
    assert [re.sub(r"[\d.]+ (s|MB)", r"0 \1", line) for line in said[4:]] == lines


def test_a_name_of_any_characters_takes_one_line_of_the_log(caplog):
    with caplog.at_level("INFO"):
        runtime.log_files("input", "pictures", ["a\nb \x1b[31m \udcff ü 猫.jpg"])
    assert caplog.messages == [r"input, pictures: a\nb \x1b[31m \udcff ü 猫.jpg"]


def test_a_bug_is_told_after_the_closing_line(tmp_path):
    said = run_in(tmp_path, JOB.replace("END", "[].pop()")).stderr
    assert said.index("failed after") < said.index("Traceback") < said.index("IndexError")


def test_a_rate_is_told_in_pictures_too(caplog):
    with caplog.at_level("INFO"), runtime.Throughput("steps", threads=1, pictures_each=32) as done:
        done.add(5)
    rates = re.search(r"5 steps in [\d.]+ s: ([\d,.]+) steps/s, ([\d,.]+) pictures/s", caplog.text)
    steps, pictures = (float(rate.replace(",", "")) for rate in rates.groups())
    assert pictures == pytest.approx(32 * steps, rel=1e-3)


def test_a_process_is_refused_memory_above_its_limit():
    code = """
from copytrace import runtime
runtime.limit_memory(300_000_000)
kept = bytearray(200_000_000)
kept[::4096] = b"x" * len(kept[::4096])
print(runtime.peak_memory_mb() > 200)
try:
    bytearray(200_000_000)
except MemoryError:
    print("refused")
"""
    environment = os.environ | {"PYTHONPATH": str(Path(runtime.__file__).parents[1])}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert run.stdout.split() == ["True", "refused"], run.stderr


READER = """
import pandas as pd
import pyarrow.parquet as pq
from copytrace import runtime
from copytrace.tables import read_footer

runtime.run(lambda: READ("parts.parquet"))
"""


@pytest.mark.parametrize("read", ["pd.read_parquet", "pq.read_table", "read_footer"])
@pytest.mark.parametrize("length", [0, 900])
def test_a_table_that_was_cut_off_is_named_in_one_sentence(tmp_path, read, length):
    pd.DataFrame({"image_id": range(100)}).to_parquet(tmp_path / "parts.parquet")
    os.truncate(tmp_path / "parts.parquet", length)
    job = run_in(tmp_path, READER.replace("READ(", f"{read}("))
    assert job.returncode == 2
    *_, closing, sentence = job.stderr.splitlines()
    assert "failed after" in closing
    assert sentence.startswith("error: parts.parquet can't be read (Parquet ")
    assert sentence.endswith("): delete it and run the same command again")
