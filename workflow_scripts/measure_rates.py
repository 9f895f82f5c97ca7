"""Measure how fast this machine does each kind of work of a configuration, for the bill."""

import json
from pathlib import Path

from copytrace import measuring, rates, runtime


def main() -> None:
    """Read the arguments, measure, write a rates file."""
    parser = runtime.Arguments(__doc__)
    parser.add_argument("--configuration", required=True, type=json.loads, help="the resolved configuration as JSON")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True, help="rates file to write (YAML)")
    args = parser.parse()
    rates.write_rates(args.output, measuring.measure(args.configuration, Path(__file__).parent, args.threads))


if __name__ == "__main__":
    runtime.run(main)
