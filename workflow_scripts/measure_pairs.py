"""Find the candidates of one shard of queries, and measure each pair: geometry, aligned pixels, hashes."""

import json

from copytrace import ensembling, runtime
from copytrace.verification.candidates import VoteSettings
from copytrace.verification.descriptor_index import read_index
from copytrace.verification.feature_files import FeatureFiles
from copytrace.verification.pair_files import write_pairs
from copytrace.verification.pairs import measure


def main() -> None:
    """Read the arguments, search, measure, write one table of pairs."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--queries", required=True, help="feature file of the shard")
    parser.add_input("--references", required=True, nargs="+", help="feature files of the references, in order")
    parser.add_input("--background", required=True, help="index of unrelated pictures")
    parser.add_input("--index", help="index of the references, where local features look for candidates")
    parser.add_input("--final", help="ranked list query_id,reference_id,score, where it has candidates")
    parser.add_input("--list", help="another such list, whose pairs are candidates and whose scores don't count")
    parser.add_argument("--candidates", required=True, type=json.loads, help="verification.candidates_per_query")
    parser.add_argument("--search", required=True, type=json.loads, help="verification.search")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True)
    args = parser.parse()
    runtime.set_threads(args.threads)
    queries = FeatureFiles([args.queries])
    pairs = 0
    with runtime.Throughput("queries", args.threads, total=len(queries)) as done:

        def counted():
            nonlocal pairs
            for rows in measure(
                queries,
                FeatureFiles(args.references),
                read_index(args.background),
                read_index(args.index) if args.index else None,
                VoteSettings(candidates=args.candidates["local"], **args.search),
                ensembling.read_final(args.final) if args.final else None,
                ensembling.read_final(args.list) if args.list else None,
                args.candidates,
            ):
                pairs += len(rows)
                done.add()
                yield rows

        write_pairs(args.output, counted())
    runtime.log.info("%s pairs", f"{pairs:,}")


if __name__ == "__main__":
    runtime.run(main)
