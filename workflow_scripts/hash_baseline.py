"""Match pictures by the perceptual hash PDQ alone: each query's closest references, in eight positions."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from copytrace import pdq, runtime
from copytrace.ensembling import write_final
from copytrace.imaging import load_image


def main() -> None:
    """Read the arguments, hash both sides, search, write `query_id,reference_id,score`."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--queries", required=True, help="manifest (Parquet)")
    parser.add_input("--references", required=True, help="manifest (Parquet)")
    parser.add_argument("--pairs-per-query", type=int, default=10, help="references kept for each query")
    parser.add_argument("--threads", type=int, default=1, help="pictures hashed at once")
    parser.add_output("--output", required=True, help="CSV to write; score = 1 - differing bits / 256")
    args = parser.parse()
    runtime.set_threads(args.threads)

    queries, references = pd.read_parquet(args.queries), pd.read_parquet(args.references)
    with (
        runtime.Throughput("pictures", args.threads, len(queries) + len(references)) as done,
        ThreadPoolExecutor(args.threads) as pool,
    ):

        def all_ways(path: str) -> np.ndarray:
            return pdq.dihedral_hashes(load_image(path))

        def upright(path: str) -> tuple[np.ndarray, int]:
            return pdq.pdq_hash(load_image(path))

        query_hashes = np.empty((len(queries), 8, pdq.HASH_BYTES), np.uint8)
        for row, hashes in enumerate(pool.map(all_ways, queries["path"])):
            query_hashes[row] = hashes
            done.add()
        reference_hashes = np.empty((len(references), pdq.HASH_BYTES), np.uint8)
        quality = np.empty(len(references), np.int64)
        for row, hashed in enumerate(pool.map(upright, references["path"])):
            reference_hashes[row], quality[row] = hashed
            done.add()

    # All flat pictures have about the same hash, and it says nothing about where they come from.
    usable = np.flatnonzero(quality)
    found = pdq.nearest(query_hashes, reference_hashes[usable], args.pairs_per_query)
    pairs = pd.DataFrame(
        {
            "query_id": queries["image_id"].to_numpy()[found["query"]],
            "reference_id": references["image_id"].to_numpy()[usable[found["reference"]]],
            "score": 1 - found["distance"].to_numpy() / (8 * pdq.HASH_BYTES),
        }
    )
    order = ["score", "query_id", "reference_id"]
    write_final(args.output, pairs.sort_values(order, ascending=[False, True, True]))


if __name__ == "__main__":
    runtime.run(main)
