"""Large searches on a processor: products in bf16 first, and exact ones only where those leave a chance.

bf16 keeps 8 bits of a number, and processors with AMX or AVX-512 bf16 multiply in it several times as fast. A number is
off by at most 2⁻⁹ of itself, so of the rounded vectors q̂ and r̂ it is known that |⟨q, r⟩ − ⟨q̂, r̂⟩| ≤ ‖q − q̂‖·‖r‖ +
‖q̂‖·‖r − r̂‖ ≤ (2·2⁻⁹ + 2⁻¹⁸)·‖q‖·‖r‖ (Cauchy and Schwarz). A pair whose rounded product lies by more than that below
the bound can't reach it; the others are computed again in float32. So nothing is lost, and results are those of
`search.Products` but for the order of summation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from copytrace import search

if TYPE_CHECKING:
    import torch

# Multiply-adds from which on it is worth loading torch, which takes a second and a half.
LARGE = 2e11

# What the product of two rounded vectors is off by at most, as a share of the product of their lengths: the rounding of
# both, and that of a sum of thousands of terms in float32.
DOUBT = 2 * 2**-9 + 2**-18 + 1e-4

# References of a block from which on it is worth rounding them.
WORTH_ROUNDING = 1024

# Share of candidates from which on all products are computed in float32 instead of one by one.
MANY = 0.01

# Numbers that are gathered at a time for products one by one.
GATHERED = 2**22


def index_for(multiply_adds: float) -> Callable[[np.ndarray], search.Index]:
    """What makes the index of references for a search of so many multiply-adds on this machine."""
    if multiply_adds < LARGE or search.on_gpu():
        return search.index
    from copytrace.devices import processor_has_bf16

    return low_precision_index if processor_has_bf16() else search.index


def low_precision_index(references: np.ndarray) -> search.Index:
    """An index of `references`, float32 [r, d]; of the first few, while bounds are low, nearly all are candidates."""
    return LowPrecision(references) if len(references) >= WORTH_ROUNDING else search.Products(references)


class LowPrecision:
    """References in float32 and, rounded, in bf16."""

    query_rows = search.QUERY_ROWS

    def __init__(self, references: np.ndarray):
        starts = range(0, len(references), search.REFERENCE_ROWS)
        self.blocks = [_Rounded(references[start : start + search.REFERENCE_ROWS]) for start in starts]

    def at_least(self, queries: np.ndarray, bounds: Callable[[], np.ndarray]) -> Iterator[search.Hits]:
        """See `search.Index`."""
        rounded = _Rounded(queries)
        for number, block in enumerate(self.blocks):
            least = bounds()
            rows, columns = _candidates(rounded, block, least)
            if len(rows) > MANY * len(queries) * len(block.vectors):
                products = queries @ block.vectors.T
                rows, columns = search.reaching(products, least)
                exact = products[rows, columns]
            else:
                exact = _one_by_one(queries, block.vectors, rows, columns)
                kept = exact >= least[rows]
                rows, columns, exact = rows[kept], columns[kept], exact[kept]
            yield rows, columns + number * search.REFERENCE_ROWS, exact


class _Rounded:
    """Vectors [n, d] with their bf16 and their lengths [n]."""

    def __init__(self, vectors: np.ndarray):
        import torch

        self.vectors = vectors
        self.bf16 = torch.from_numpy(vectors).bfloat16()
        self.length = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))


def _candidates(queries: _Rounded, references: _Rounded, least: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pairs whose product may be `least` [q] or more."""
    import torch

    doubt = DOUBT * queries.length * references.length.max()
    # The product itself is rounded, too: so is the bound, and rounding changes no order.
    bounds = torch.from_numpy((least - doubt).astype(np.float32)).bfloat16()
    products = queries.bf16 @ references.bf16.T
    return search.reaching(_ordered(products, bounds), _ordered(bounds, bounds))


def _ordered(values: torch.Tensor, bounds: torch.Tensor) -> np.ndarray:
    """bf16 numbers as int16 in the same order, as far as it takes to tell which are at least `bounds`.

    NumPy compares int16 much faster than torch compares bf16. Bits of floats of 0 and more are ordered as they are, and
    those of negative ones, as int16, lie below; only where a bound is not positive must negative ones be put in order.
    """
    import torch

    bits = values.view(torch.int16).numpy()
    return bits if bool((bounds > 0).all()) else bits ^ ((bits >> 15) & 0x7FFF)


def _one_by_one(queries: np.ndarray, references: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The inner products, float32 [n], of the pairs `rows`, `columns`."""
    exact = np.empty(len(rows), np.float32)
    step = max(1, GATHERED // queries.shape[1])
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        np.einsum("nd,nd->n", queries[rows[some]], references[columns[some]], out=exact[some])
    return exact
