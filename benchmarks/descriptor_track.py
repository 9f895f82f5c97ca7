"""What each step of the descriptor track is worth: the figures of docs/results.md, on the sample or on photographs.

Runs `snakemake descriptor_track` untrained, trained, with a detached teacher, and with queries replaced by what the
detector finds, and prints each evaluation and what one variant gains over another on the same bootstrap draws.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from photographs import make_queries

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "workflow_scripts"))

from copytrace import ablation, ensembling, ground_truth, metrics  # noqa: E402

#: Small enough for two cores: an ImageNet MobileNetV2 trained on 128-pixel copies.
PHOTOGRAPHS = {
    "backbones": ["mobilenet_v2"],
    "synthesis": {"side": 128},
    "family_table": {"track_CC": {"steps_factor": 1}},
    "training": {"steps": 300},
    "detection": {"backbone": "mobilenet_v2", "side": 128, "steps": 500},
    "descriptor_track": {"scales": [100, 128, 160, 200]},
}


def main() -> None:
    """Read the arguments, run the workflow in every variant, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for queries, results and figures")
    parser.add_argument("--photographs", type=Path, help="folder with training/ and references/; left out: the sample")
    parser.add_argument("--copies", type=int, default=300, help="of photographs: queries made from references")
    parser.add_argument("--without-source", type=int, default=300, help="of photographs: queries without a source")
    parser.add_argument("--settings", type=yaml.safe_load, default={}, help="further settings, YAML")
    parser.add_argument("--confidences", type=float, nargs="*", default=[0.3, 0.5], help="to replace queries above")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="only these, e.g. trained; left out: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cores", default="all")
    args = parser.parse_args()
    output = args.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    images = (
        make_queries(args.photographs.resolve(), output, args.copies, args.without_source, args.seed)
        if args.photographs
        else {}
    )
    common = [{"results": str(output / "results"), "seed": args.seed, "images": images}, args.settings]
    profile = [REPOSITORY / "profiles" / "photos.yaml"] if args.photographs else []
    variants: dict[str, dict[str, Any]] = {
        "untrained": {"family_table": {"track_CC": {"steps_factor": 0}}},
        "detached teacher": {"descriptor_track": {"detach_teacher": True}},
        "trained": {},
    }
    for confidence in args.confidences:
        variants[f"trained, boxes above {confidence:g}"] = {
            "parts": {"kinds": ["whole", "detected_overlay"]},
            "descriptor_track": {"replacement": {"confidence": confidence}},
        }
    if unknown := set(args.variants or []) - set(variants):
        sys.exit(f"there is no variant {', '.join(unknown)}: take some of {', '.join(variants)}")
    rows = {}
    for name, changes in variants.items():
        if args.variants and name not in args.variants:
            continue
        overlays = [*profile]
        for number, overlay in enumerate([PHOTOGRAPHS if args.photographs else {}, *common, changes]):
            overlays.append(output / f"overlay-{number}.yaml")
            overlays[-1].write_text(yaml.safe_dump(overlay))
        started = time.monotonic()
        run_workflow(overlays, args.cores)
        print(f"\n{name}: snakemake took {time.monotonic() - started:.0f} s on {os.cpu_count()} cores")
        results = output / "results"
        measured = output / f"{name.replace(' ', '_')}.json"
        shutil.copy(results / "evaluation" / "descriptors.json", measured)
        evaluation = json.loads(measured.read_text())
        print(f"{evaluation['protocol']['replaced_queries']} queries replaced")
        print(pd.read_csv(results / "evaluation" / "descriptors_table.csv").to_string(index=False, float_format="%.3f"))
        for step in evaluation["steps"]:
            print("gain of {step}: {gain:+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}]".format(**step))
        rows[name] = submitted(results, args.seed)
    for name, row in rows.items():
        if name != "trained" and "trained" in rows:
            low, high = metrics.interval(row.samples - rows["trained"].samples)
            print(f"{name} over trained: {row.micro_ap - rows['trained'].micro_ap:+.3f} [{low:+.3f}, {high:+.3f}]")


def run_workflow(overlays: Sequence[Path], cores: str) -> None:
    """The descriptor track with these overlays. What Snakemake says is shown only if it fails, errors and all."""
    command = [sys.executable, "-m", "snakemake", "descriptor_track", "--cores", cores]
    command += ["--configfile", *map(str, overlays)]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    run = subprocess.run(command, cwd=REPOSITORY, env=environment, text=True, capture_output=True, check=False)
    if run.returncode:
        sys.exit(f"{run.stdout}{run.stderr}")


def submitted(results: Path, seed: int) -> ablation.Row:
    """The measures of a run's list of pairs, with their bootstrap samples."""
    truth = results / "images" / "ground_truth.csv"
    ids = pd.read_parquet(results / "images" / "queries.parquet", columns=["image_id"])["image_id"].tolist()
    task = ablation.task(ground_truth.read(truth), ids, ablation.Evaluation("all", 1000, 0.95), seed, truth)
    return ablation.measure("", "", ensembling.read_final(results / "descriptors.csv"), task)


if __name__ == "__main__":
    main()
