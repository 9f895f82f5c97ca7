"""The bill of a finished run beside what the run took, stage by stage, in seconds of processors.

    snakemake bill --cores 1; snakemake --cores all; python benchmarks/bill.py --results results

Processor time is compared, because other work on the machine changes it less than the clock. Snakemake looks at a
job's every half second, but after a quarter of a minute only every half minute; what a job took after it was last
looked at is reckoned with the share of a processor that it had until then. The clock is shown beside it. Exit status
1 where the sum of processor time is off by more than a factor of 1.5.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

WITHIN = 1.5
OFTEN, SELDOM = 15.5, 30.0  # seconds that a job is looked at all the time, then between two looks


def main() -> None:
    """Read the arguments, add up both sides, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="folder of a run whose bill was made, too")
    args = parser.parse_args()
    bill = pd.read_csv(args.results / "bill" / "bill.csv")
    jobs = taken(args.results / "benchmarks")
    stages = bill.drop_duplicates("rule").set_index("rule")["stage"]
    jobs = jobs[jobs["rule"].isin(stages.index)].assign(stage=lambda table: table["rule"].map(stages))
    table = pd.DataFrame({"billed": bill.groupby("stage", sort=False)["cpu_hours"].sum() * 3600})
    table[["taken", "clock"]] = jobs.groupby("stage")[["processor", "s"]].sum()
    table.loc["all"] = table.sum()
    table["billed / taken"] = table["billed"] / table["taken"]
    print(table.to_string(float_format="%.2f"))
    sys.exit(not 1 / WITHIN < table["billed / taken"].iloc[-1] < WITHIN)


def taken(folder: Path) -> pd.DataFrame:
    """One row per job: `rule`, `s` by the clock, `processor` seconds.

    A job that was over before it was looked at twice has no processor time and counts with the clock.
    """
    tables = []
    for path in sorted(folder.rglob("*.tsv")):
        rule = path.relative_to(folder).parts[0].removesuffix(".tsv")
        tables.append(pd.read_csv(path, sep="\t", na_values=["-", "NA"]).assign(rule=rule))
    jobs = pd.concat(tables, ignore_index=True)
    looked_at = jobs["s"].where(jobs["s"] < OFTEN, OFTEN + SELDOM * ((jobs["s"] - OFTEN) // SELDOM))
    seen = jobs["cpu_time"].where(jobs["cpu_time"] > 0)
    return jobs.assign(processor=(seen * jobs["s"] / looked_at).fillna(jobs["s"]))[["rule", "s", "processor"]]


if __name__ == "__main__":
    main()
