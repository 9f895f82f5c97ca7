"""The best pairs of all queries together beside FAISS alone: the k best of each query, then the cut over all.

FAISS alone has to be told k, and it is exact only with a k that is known afterwards: how many of the best pairs
the busiest query has. Both are measured: this k (of hindsight), and k = all references, which needs none but takes
minutes where there are many similarities: it is left out then.

Two sets of unit vectors, with the bias that random background vectors give: random ones, and clustered ones, where
queries have hundreds of near references, as pictures of one logo do. copytrace is measured in float32 and, where the
processor has bf16, as it searches where there is much to do: in low precision first.

A hundredth of each side of the paper's search:

    python benchmarks/search.py --queries 14500 --references 10000 --dimensions 1500 --pairs 10000 --repeats 3
"""

import side_by_side  # first: it sets the threads and finds the library

# isort: split

import argparse
import sys
from functools import partial

import faiss
import numpy as np

from copytrace import matching, runtime, search
from copytrace.devices import processor_has_bf16
from copytrace.low_precision import low_precision_index
from copytrace.matching import Pairs

# Similarities up to which FAISS is also asked for all references of each query.
ALL_AT_MOST = 2e7


def main() -> None:
    """Read the arguments, draw both sets, search them in all ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--references", type=int, default=10_000)
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=20_000, help="best pairs of all queries together")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    sets = [("random", 0), ("clustered", 4)]
    sys.exit(not all([compare(kind, clusters, args) for kind, clusters in sets]))


def compare(kind: str, clusters: int, args: argparse.Namespace) -> bool:
    """Draw a set and compare the ways on it; whether all of them find the same pairs."""
    rng = runtime.generator("search", kind)
    queries, references = draw(rng, args.queries, args.references, args.dimensions, clusters)
    background, _ = draw(rng, args.references // 4, 0, args.dimensions, clusters=0)
    bias = matching.query_bias(queries, [background], neighbours=10, weight=1.0)
    count = args.pairs
    needed = busiest(matching.best_pairs(queries, bias, lambda: [references], count))
    print(
        f"{kind}: {args.queries:,} queries x {args.references:,} references of {args.dimensions} dimensions, "
        f"{count:,} best pairs; FAISS alone is exact from k = {needed:,} on"
    )
    low = {"copytrace, low precision first": low_precision_index} if processor_has_bf16() else {}
    everything = {"FAISS, k = all references": partial(with_faiss, queries, bias, references, count, len(references))}
    if args.queries * args.references > ALL_AT_MOST:
        everything = {}
    ours = low | {"copytrace, float32": search.Products}
    return side_by_side.compare(
        {
            **{
                name: partial(matching.best_pairs, queries, bias, lambda: [references], count, index)
                for name, index in ours.items()
            },
            f"FAISS, k = {needed:,}, known afterwards": lambda: with_faiss(queries, bias, references, count, needed),
            **everything,
        },
        same_pairs,
        args.queries * args.references / 1e6,
        "million similarities",
        args.repeats,
    )


def draw(
    rng: np.random.Generator, queries: int, references: int, dimensions: int, clusters: int
) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors float32 [queries, d] and [references, d]; a tenth of all lies in clusters, if there are any."""
    vectors = rng.normal(size=(queries + references, dimensions)).astype(np.float32)
    if clusters:
        centres = rng.normal(size=(clusters, dimensions)).astype(np.float32)
        members = rng.permutation(len(vectors))[: len(vectors) // 10]
        vectors[members] = centres[rng.integers(clusters, size=len(members))] + 0.5 * vectors[members]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors[:queries], vectors[queries:]


def with_faiss(queries: np.ndarray, bias: np.ndarray, references: np.ndarray, count: int, k: int) -> Pairs:
    """The k best references of each query, then the `count` best of all of them."""
    index = faiss.IndexFlatIP(references.shape[1])
    index.add(references)
    values, rows = index.search(queries, k)
    scores = (values - bias[:, None]).ravel()
    best = np.argpartition(-scores, min(count, len(scores)) - 1)[:count]
    best = best[np.argsort(-scores[best], kind="stable")]
    return Pairs(best // k, rows.ravel()[best], scores[best])


def busiest(pairs: Pairs) -> int:
    """How many of the pairs the query with most of them has."""
    return int(np.bincount(pairs.query).max())


def same_pairs(ours: Pairs, other: Pairs) -> bool:
    """Equal scores to 1e-5, and equal pairs but for those within 1e-5 of the cut, where rounding decides."""
    if len(ours) != len(other) or not np.allclose(ours.score, other.score, rtol=0, atol=1e-5):
        return False
    listed = [
        dict(zip(zip(found.query.tolist(), found.reference.tolist()), found.score.tolist())) for found in (ours, other)
    ]
    cut = float(ours.score[-1])
    odd = listed[0].keys() ^ listed[1].keys()
    return all((listed[0] | listed[1])[pair] - cut <= 1e-5 for pair in odd)


if __name__ == "__main__":
    main()
