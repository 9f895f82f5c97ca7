"""Keep the pairs of one family on which enough of its backbones agree, scale by scale."""

from pathlib import Path

from copytrace import ensembling, runtime
from copytrace.errors import InputError


def main() -> None:
    """Read the arguments, vote, write the table."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--pairs", type=Path, nargs="+", required=True, help="tables of pairs (Parquet)")
    parser.add_argument("--family", required=True, help="rows of other families are left out")
    parser.add_argument("--minimum", type=int, required=True, help="backbones that must list a pair")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_output("--output", type=Path, required=True, help="table of the surviving pairs (Parquet)")
    args = parser.parse()
    runtime.set_threads(args.threads)

    with runtime.Throughput("pairs", args.threads) as done:
        pairs = ensembling.read_pairs(args.pairs, [args.family])
        backbones = len(pairs["model"].cat.categories)
        if len(pairs) and args.minimum > backbones:
            raise InputError(
                f"The vote of family {args.family} asks for {args.minimum} agreeing backbones, yet only "
                f"{backbones} have pairs: lower ensembling.vote (or tile_vote) or name more backbones."
            )
        survivors = ensembling.vote(pairs, args.minimum)
        ensembling.write_pairs(args.output, survivors)
        done.add(len(pairs))
    runtime.log.info("%d of %d rows survive: %s", len(survivors), len(pairs), args.output)


if __name__ == "__main__":
    runtime.run(main)
