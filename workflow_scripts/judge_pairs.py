"""Make one probability and a decision of all that was measured of each pair, and list the matches."""

from copytrace import runtime
from copytrace.verification.fusion import read_fusion
from copytrace.verification.matches import DEFAULT_FUSION, READ, judge, write_matches
from copytrace.verification.pair_files import read_pairs


def main() -> None:
    """Read the arguments, judge, write `matches.csv`."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--pairs", required=True, nargs="+", help="tables of measured pairs, of all queries")
    parser.add_input("--fusion", help="file of trees; those that come with copytrace where not given")
    parser.add_argument("--decision", type=float, help="probability of a copy; the trees' own where not given")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True)
    args = parser.parse()
    runtime.set_threads(args.threads)
    fusion = read_fusion(args.fusion or DEFAULT_FUSION)
    decision = fusion.decision if args.decision is None else args.decision
    with runtime.Throughput("pairs", args.threads) as done:
        matches = judge(read_pairs(args.pairs, READ), fusion, decision)
        done.add(len(matches))
    write_matches(args.output, matches)
    called = matches[matches.decision]
    runtime.log.info(
        "%d pairs of %d queries are called copies, at a probability of %.3f or more",
        len(called), called.query_id.nunique(), decision,
    )  # fmt: skip


if __name__ == "__main__":
    runtime.run(main)
