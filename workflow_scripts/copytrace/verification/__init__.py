"""Verification of candidate pairs: local features, geometry, alignment, and a probability.

Not part of a published system; measured in our fact sheet on verification, whose sections the docstrings name.
`features` describes pictures; `descriptor_index` and `candidates` find references by local features, `background`
tells how common a feature is; `matching` and `geometry` estimate how a reference lies in a query, `alignment` compares
the pixels there, `evidence` draws boxes; `verify` does all this for a query and its candidates, and `fusion` makes
one probability of it.
"""
