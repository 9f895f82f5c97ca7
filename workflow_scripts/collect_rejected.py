"""Join the lists of rejected pictures of all roles."""

import pandas as pd

from copytrace import manifests, runtime


def main() -> None:
    """Read the arguments, join, write."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--rejected", required=True, nargs="+", help="CSV files role,path,reason")
    parser.add_output("--output", required=True)
    args = parser.parse()
    with runtime.Throughput("rejected pictures", threads=1) as done:
        rejected = pd.concat(map(manifests.read_rejected, args.rejected), ignore_index=True)
        manifests.write_table(rejected, args.output)
        done.add(len(rejected))


if __name__ == "__main__":
    runtime.run(main)
