"""What the report shows: sheets of synthesised pictures, loss curves, the page of provenance."""

import hashlib
import io
import math

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.numpy import save_file

from copytrace import figures, loss_curves, provenance_page, sheets
from copytrace.errors import InputError
from copytrace.synthesis.tarset import TrainingSet, write_shard

COLOURS = {(c, k): (40 * c + 20, 60 * k + 20, 128) for c in range(5) for k in range(4)}  # by class and copy


def jpeg(colour):
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(stream, "JPEG", quality=100)
    return stream.getvalue()


@pytest.fixture
def training_set(tmp_path):
    """Classes 0, 10, 20, 30 and 40 with three copies each, every picture of one colour, in two shards."""
    for name, classes in (("a", (0, 1)), ("b", (2, 3, 4))):
        copies = [(10 * c, k, jpeg(COLOURS[c, k])) for c in classes for k in range(4)]
        write_shard(tmp_path / f"{name}.tar", f"{name}.tar", copies).to_parquet(tmp_path / f"{name}.parquet")
    return TrainingSet([tmp_path / "a.parquet", tmp_path / "b.parquet"])


def test_positions_are_spread_evenly():
    assert sheets.spread(10, 4).tolist() == [0, 3, 6, 9]
    assert sheets.spread(3, 8).tolist() == [0, 1, 2]
    assert sheets.spread(5, 1).tolist() == [0]


def test_a_sheet_has_a_row_per_class_and_the_picture_first(training_set):
    sheet = sheets.synthesis_sheet(training_set, classes=3, copies=2)
    step = sheets.LARGEST_CELL + sheets.GAP
    assert sheet.size == (sheets.MARGIN + 3 * step, sheets.HEADING + 3 * step)
    middles = np.arange(3) * step + sheets.LARGEST_CELL // 2
    for row, shown in enumerate((0, 2, 4)):
        for column in range(3):
            pixel = sheet.getpixel((int(sheets.MARGIN + middles[column]), int(sheets.HEADING + middles[row])))
            assert np.abs(np.subtract(pixel, COLOURS[shown, column])).max() <= 3


def test_a_sheet_stays_within_its_width(tmp_path):
    copies = [(0, k, jpeg((10 * k, 0, 0))) for k in range(20)]
    write_shard(tmp_path / "0.tar", "0.tar", copies).to_parquet(tmp_path / "0.parquet")
    assert 900 < sheets.synthesis_sheet(TrainingSet([tmp_path / "0.parquet"]), 4, 19).width <= sheets.WIDTH


def test_loss_curves_stand_beside_a_guess(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append(figure))
    curve = pd.DataFrame({"step": range(6), "cross_entropy": 2.0, "ln_classes": math.log(8)})
    curves = {"u_CC.b": curve, "u_CC.a": curve, "dark_CC.a": curve.assign(ln_classes=math.log(9))}
    loss_curves.draw(curves, "cross_entropy", "cross-entropy", tmp_path / "curves.png")
    dark, other = drawn[0].axes
    assert (dark.get_title(), other.get_title()) == ("dark_CC", "u_CC")
    assert [line.get_label() for line in other.get_lines()] == ["a", "b", "ln(classes), a guess"]
    assert dark.get_lines()[-1].get_ydata()[0] == pytest.approx(2.1972246)
    assert other.get_lines()[0].get_color() == dark.get_lines()[0].get_color()


def test_a_pretraining_has_no_guess_and_its_loss_is_smoothed(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append(figure))
    curve = pd.DataFrame({"step": range(7), "loss": [0.0, 0, 0, 5, 0, 0, 0]})
    loss_curves.draw({"resnet": curve}, "loss", "loss", tmp_path / "curves.png")
    (line,) = drawn[0].axes[0].get_lines()
    assert line.get_ydata().tolist() == [0, 1.25, 1, 1, 1, 1.25, 0]


# ------------------------------------------------------------------------------------------- provenance


@pytest.fixture
def code(tmp_path):
    """A folder as `tree_digest` and `versions` expect one."""
    folder = tmp_path / "code"
    (folder / "rules").mkdir(parents=True)
    (folder / "Snakefile").write_text("rule all:\n")
    (folder / "rules" / "a.smk").write_text("rule a:\n")
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "demo"\nversion = "1.2"\ndependencies = ["numpy>=2", "no-such-package[extra]>=1"]\n'
    )
    return folder


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "models" / "u_CC.a.safetensors"
    path.parent.mkdir()
    header = '{"kind": "model", "pretrained": {"backbone": "a", "seed": 0}, "seed": 0, "steps": 9, "run": "f00"}'
    save_file({"w": np.zeros(3, np.float32)}, path, {"copytrace": header})
    return path


def benchmark(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = ["s", "h:m:s", "max_rss", "max_vms", "max_uss", "max_pss", "io_in", "io_out", "mean_load", "cpu_time"]
    lines = ["\t".join(columns)]
    lines += [f"{s}\t0:00:00\t{rss}\t1\t1\t1\t0\t0\t50\t{cpu}" for s, rss, cpu in rows]
    path.write_text("\n".join(lines) + "\n")


def test_versions_are_those_installed(code):
    installed, lacking = provenance_page.versions(code / "pyproject.toml", "9.9")
    found = dict(installed)
    assert found["demo"] == "1.2"
    assert found["numpy"] == np.__version__
    assert found["snakemake"] == "9.9"
    assert "no-such-package" in lacking and "no-such-package" not in found
    assert {"faiss-cpu", "faiss-gpu"} <= {*found, *lacking}


def test_the_digest_is_of_the_code_and_of_nothing_else(code):
    before = provenance_page.tree_digest(code)
    (code / "README.md").write_text("words")
    assert provenance_page.tree_digest(code) == before
    (code / "rules" / "a.smk").rename(code / "rules" / "b.smk")
    renamed = provenance_page.tree_digest(code)
    (code / "rules" / "b.smk").write_text("rule b:\n")
    assert len({before, renamed, provenance_page.tree_digest(code)}) == 3


def test_a_weights_header_is_read_without_torch(weights):
    header = provenance_page.weights_header(weights)
    assert header["steps"] == 9
    assert provenance_page.made_by(header) == "pretrained a, seed 0, steps 9"


@pytest.mark.parametrize("content", [b"", b"not weights at all", (2).to_bytes(8, "little") + b"{}"])
def test_a_file_without_such_a_header_is_one_sentence(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.safetensors is no weights file of copytrace"):
        provenance_page.weights_header(tmp_path / "x.safetensors")


def test_run_times_are_summed_by_rule(tmp_path):
    benchmark(tmp_path / "evaluate.tsv", (10.0, 100.0, 5.0))
    benchmark(tmp_path / "train_model" / "u_CC.a.tsv", (30.0, 500.0, 20.0))
    benchmark(tmp_path / "train_model" / "u_CC.b.tsv", (20.0, 700.0, 30.0))
    benchmark(tmp_path / "list_images" / "queries.tsv", (0.1, "-", "-"))
    benchmark(tmp_path / "gone.tsv", (99.0, 1.0, 1.0))
    threads = {"evaluate": 1, "train_model": 2, "list_images": 1, "never_run": 1}
    table = provenance_page.run_times(tmp_path, threads).set_index("rule")
    assert table.index.tolist() == ["train_model", "evaluate", "list_images"]
    assert table.loc["train_model"].tolist() == [2, 2, 50.0, 30.0, 1.0, 700.0]
    assert table.loc["list_images", ["processors", "memory"]].isna().all()


def test_a_clock_carries():
    assert provenance_page.clock(3599.6) == "1:00:00"
    assert provenance_page.clock(59.4) == "0:00:59"


def page_of(code, weights, folder, rejected=()):
    return provenance_page.page(
        "images:\n  queries: /pictures/<b>&co\n",
        "9.9",
        {"workers": 0},
        {"seed": 7},
        code,
        [weights],
        provenance_page.run_times(folder / "benchmarks", {"evaluate": 1, "list_images": 1}),
        pd.DataFrame(list(rejected), columns=["role", "path", "reason"]),
    )


def test_the_page_shows_what_the_run_left_behind(code, weights, tmp_path):
    benchmark(tmp_path / "benchmarks" / "evaluate.tsv", (61.0, 1234.0, 61.0))
    benchmark(tmp_path / "benchmarks" / "list_images.tsv", (0.1, "-", "-"))
    page = page_of(code, weights, tmp_path)
    assert hashlib.sha256(weights.read_bytes()).hexdigest() in page
    assert "0:01:01 of 2 jobs" in page
    assert "<td>evaluate</td>" in page
    assert "1,234 MB" in page
    assert page.count('<td class="number">–</td>') == 2  # too short to be measured
    assert "Rejected pictures: 0<" in page


def test_the_page_takes_nothing_for_html_and_nothing_from_elsewhere(code, weights, tmp_path):
    rejected = [("queries", f"/pictures/<img src=x> {n}", "empty & broken") for n in range(25)]
    page = page_of(code, weights, tmp_path, rejected)
    assert "queries: /pictures/&lt;b&gt;&amp;co" in page
    assert "&lt;img src=x&gt; 19</td>" in page
    assert "&lt;img src=x&gt; 20</td>" not in page
    assert "Rejected pictures: 25; the first 20" in page
    assert "<img" not in page
    assert "http" not in page
