"""FAISS indexes of local features: one way to build, store, load and search them (sections 2 and 6).

kind      distances                bytes per descriptor    for
exact     exact, to all            512 + 8                 tests and up to about ten thousand pictures
ivf_sq8   exact, to some lists     128 + 8                 up to about a million pictures
ivf_pq    approximate, some lists  `code_bytes` + 8        more than that

The 8 bytes are the number of the picture. 1,000,000 pictures of 200 descriptors take 104 GB, 27 GB, and 4.8 GB (16
bytes) to 8 GB (32 bytes). Building holds one shard of descriptors beside the index, and `TRAINING` descriptors for
each list, 512 bytes each: 4.3 GB for 131,072 lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import faiss
import numpy as np

from copytrace import runtime
from copytrace.errors import InputError
from copytrace.verification.features import DIMENSIONS

#: Descriptors that each list is placed by; a smaller collection gets fewer lists.
TRAINING = 64

#: Descriptors that product quantisation is fitted to at least: FAISS wants 39 for each of its 256 centres.
CODE_TRAINING = 39 * 256

FLAT_LISTS = 4096  # with more lists the nearest ones are found through a graph
GRAPH_LINKS = 32
GRAPH_SEARCH = 64  # nodes looked at, more than lists are searched

# pieces of a collection: descriptors uint8 [n, 128] and numbers of their pictures int64 [n]
Pieces = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]


@dataclass(frozen=True)
class IndexSettings:
    """How descriptors are indexed: at most `lists` lists, of which a search looks at `probes`."""

    kind: Literal["exact", "ivf_sq8", "ivf_pq"]
    lists: int = 512
    probes: int = 8
    code_bytes: int = 16


def build(pieces: Pieces, settings: IndexSettings) -> faiss.Index:
    """An index of all pieces, in their order; `pieces()` is called several times.

    Raises InputError if there is nothing to index, or too little to fit `ivf_pq` to.

    The same descriptors in the same order give the same index, however they are cut into pieces.
    """
    count = sum(len(descriptors) for descriptors, _ in pieces())
    if not count:
        raise InputError("there are no local features to index: all pictures are of one colour or tiny")
    if settings.kind == "ivf_pq" and count < CODE_TRAINING:
        raise InputError(f"ivf_pq needs {CODE_TRAINING:,} local features, and there are {count:,}: choose ivf_sq8")
    index = _empty(pieces, count, settings)
    for descriptors, pictures in pieces():
        index.add_with_ids(descriptors.astype(np.float32), pictures.astype(np.int64))
    return index


def _empty(pieces: Pieces, count: int, settings: IndexSettings) -> faiss.Index:
    if settings.kind == "exact":
        return faiss.IndexIDMap(faiss.IndexFlatL2(DIMENSIONS))
    lists = max(1, min(settings.lists, count // TRAINING))
    sample = _sample(pieces, count, max(TRAINING * lists, CODE_TRAINING))
    quantiser = _quantiser(sample, lists)
    if settings.kind == "ivf_sq8":
        whole_numbers = faiss.ScalarQuantizer.QT_8bit_direct
        index: faiss.IndexIVF = faiss.IndexIVFScalarQuantizer(
            quantiser, DIMENSIONS, lists, whole_numbers, faiss.METRIC_L2, False
        )
    else:
        index = faiss.IndexIVFPQ(quantiser, DIMENSIONS, lists, settings.code_bytes, 8)
    index.train(sample)
    index.nprobe = settings.probes
    return index


def _sample(pieces: Pieces, count: int, wanted: int) -> np.ndarray:
    """`wanted` of the `count` descriptors, evenly spread: float32 [n, 128]."""
    rows = np.arange(min(wanted, count)) * count // min(wanted, count)
    chosen, before = [], 0
    for descriptors, _ in pieces():
        here = rows[(rows >= before) & (rows < before + len(descriptors))] - before
        chosen.append(descriptors[here].astype(np.float32))
        before += len(descriptors)
    return np.concatenate(chosen)


def _quantiser(sample: np.ndarray, lists: int) -> faiss.Index:
    """The lists' centres by k-means, whose first ones FAISS draws with a seed of its own, the same every time."""
    clustering = faiss.Clustering(DIMENSIONS, lists)
    centres = faiss.IndexFlatL2(DIMENSIONS)
    clustering.train(sample, centres)
    if lists <= FLAT_LISTS:
        return centres
    graph = faiss.IndexHNSWFlat(DIMENSIONS, GRAPH_LINKS)
    graph.hnsw.efSearch = GRAPH_SEARCH
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # several would link the graph in the order in which they happen to come
    graph.add(faiss.vector_to_array(clustering.centroids).reshape(lists, DIMENSIONS))
    faiss.omp_set_num_threads(threads)
    return graph


def write_index(path: str | Path, index: faiss.Index) -> None:
    """Store an index, whole or not at all."""
    with runtime.atomic_output(path) as temporary:
        faiss.write_index(index, str(temporary))


def read_index(path: str | Path) -> faiss.Index:
    """Load an index; a file that is cut off is an InputError that names it."""
    try:
        return faiss.read_index(str(path))
    except RuntimeError:
        raise InputError(f"{path} can't be read: delete it and run the same command again") from None


def search(index: faiss.Index, descriptors: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest descriptors of each one of uint8 [n, 128], nearest first: (squared distances, pictures) [n, k].

    k is `neighbours`, or the number of descriptors in the index. Where the lists that were searched hold fewer, the
    distance is infinite and the picture -1.
    """
    k = min(neighbours, index.ntotal)
    squared, pictures = index.search(descriptors.astype(np.float32), k)
    return np.where(pictures < 0, np.inf, squared), pictures
