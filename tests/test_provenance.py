"""Digests of code: an edit reruns what imports it, a comment reruns nothing."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
SCRIPTS = REPOSITORY / "workflow_scripts"


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """A copy of the scripts and of the library, and the digest function looking at the copy."""
    from copytrace import provenance

    shutil.copytree(SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "scripts" / "copytrace")

    def digests():
        provenance._direct_imports.cache_clear()
        provenance._code_of.cache_clear()
        provenance._parsed.cache_clear()
        return {p.name: provenance.code_digest(p) for p in sorted((tmp_path / "scripts").glob("*.py"))}

    yield tmp_path / "scripts", digests
    provenance._direct_imports.cache_clear()
    provenance._code_of.cache_clear()
    provenance._parsed.cache_clear()


def changed(before, after):
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    "module, importers",
    [  # the bill measures all kinds of work
        ("losses", {"train_model.py", "pretrain_backbone.py", "measure_rates.py"}),
        (
            "search",  # through `matching`
            {
                *("normalise_queries.py", "match_parts.py", "merge_pairs.py", "measure_training_gain.py"),
                *("stretch_descriptors.py", "evaluate_descriptors.py", "measure_rates.py"),
            },
        ),
    ],
)
def test_an_edited_module_changes_only_the_scripts_that_import_it(scripts, module, importers):
    folder, digests = scripts
    before = digests()
    with (folder / "copytrace" / f"{module}.py").open("a") as file:
        file.write("\nADDED = 1\n")
    assert changed(before, digests()) == importers


def test_comments_docstrings_and_layout_change_nothing(scripts):
    folder, digests = scripts
    before = digests()
    module = folder / "copytrace" / "runtime.py"
    text = module.read_text().replace('"""Count `count` more;', '"""Count so many more;')
    module.write_text("# A comment\n\n" + text + "\n\n# Another\n")
    assert changed(before, digests()) == set()
    module.write_text(text.replace(">= 10:", ">= 11:"))
    assert changed(before, digests()) >= {"describe.py", "train_model.py"}


def test_table_scripts_load_no_torch():
    """Their environments have none, and starting it would take longer than their work."""
    light = ["combine_families", "vote_backbones", "evaluate", "merge_tables", "cut_reference_tiles"]
    light += ["normalise_queries", "match_parts", "merge_pairs"]
    light += ["extract_features", "index_references", "index_background", "measure_pairs", "judge_pairs"]
    light += ["choose_trial_pictures", "plan_trials", "extract_trials", "fit_fusion"]
    light += ["evaluate_matches", "draw_evidence"]
    light += ["replace_queries", "stretch_descriptors", "evaluate_descriptors", "convert_descriptors"]
    light += ["draw_gallery", "draw_nearest"]
    for script in light:
        code = f"import runpy, sys; runpy.run_path('{script}.py'); sys.exit('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True)
        assert done.returncode == 0, (script, done.stderr[-500:])


def test_parsing_needs_no_package_that_snakemake_does_not_bring():
    """A bare Snakemake that makes the rules' environments itself has no NumPy."""
    text = (REPOSITORY / "rules" / "common.smk").read_text()
    imports = re.findall(r"^(?:from|import) copytrace.*", text, flags=re.MULTILINE)
    assert "validation" in " ".join(imports)
    absent = ["numpy", "scipy", "pandas", "pyarrow", "h5py", "PIL", "cv2", "simplejpeg", "matplotlib", "torch"]
    code = "\n".join(["import sys", f"sys.modules.update(dict.fromkeys({absent}))", *imports])
    done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
