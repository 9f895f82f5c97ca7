"""Write where a run's results come from: versions, machine, configuration, seeds, weights, run times."""

import json
from pathlib import Path

import pandas as pd

from copytrace import provenance_page, runtime


def main() -> None:
    """Read the arguments and what the run left behind, write one HTML page."""
    parser = runtime.Arguments(__doc__)
    parser.add_argument("--configuration", required=True, help="the resolved configuration as YAML")
    parser.add_argument("--snakemake", required=True, help="version that runs the workflow")
    parser.add_argument("--execution", required=True, type=json.loads, help="its section `execution` as JSON")
    parser.add_argument("--seeds", required=True, type=json.loads, help='JSON {"key": seed}')
    parser.add_argument("--rule-threads", required=True, type=json.loads, help='JSON {"rule": threads}')
    parser.add_input("--code", required=True, type=Path, help="folder of Snakefile and pyproject.toml")
    parser.add_input("--weights", required=True, nargs="+", type=Path, help="safetensors files")
    parser.add_input("--benchmarks", required=True, type=Path, help="folder of Snakemake's benchmark files")
    parser.add_input("--rejected", required=True, help="CSV role,path,reason")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True, type=Path, help="HTML")
    args = parser.parse()
    runtime.set_threads(args.threads)
    with runtime.Throughput("weights files", args.threads) as meter:
        page = provenance_page.page(
            args.configuration,
            args.snakemake,
            args.execution,
            args.seeds,
            args.code,
            args.weights,
            provenance_page.run_times(args.benchmarks, args.rule_threads),
            pd.read_csv(args.rejected, dtype=str, keep_default_na=False),
        )
        with runtime.atomic_output(args.output) as temporary:
            temporary.write_text(page, encoding="utf-8")
        meter.add(len(args.weights))


if __name__ == "__main__":
    runtime.run(main)
