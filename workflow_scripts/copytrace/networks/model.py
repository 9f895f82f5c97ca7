"""A copy detection model: backbone, GeM pooling and, for the embedding, a projector (D²LV sheet, 4.1).

That of the descriptor track has a second head behind the embedding (BoT sheet, 4.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import nn

from copytrace.errors import InputError
from copytrace.networks.heads import Matrix, Projector
from copytrace.networks.layers import PUBLISHED_GEM_EXPONENT, GeM
from copytrace.networks.registry import Backbone, create_backbone
from copytrace.networks.weights import read_weights

Kind = Literal["feature", "embedding", "matrix"]


class CopyModel(nn.Module):
    """Pictures → pooled feature f and embedding e.

    `projector`: {hidden, embedding}, the sizes of the projector, or None for a model without an embedding.
    `gem_p`: the pooling's exponent at the start. `matrix`: width of the second head behind the embedding, whose
    output d is short, or None for a model without.
    """

    def __init__(
        self,
        backbone: Backbone,
        projector: Mapping[str, int] | None = None,
        gem_p: float = PUBLISHED_GEM_EXPONENT,
        matrix: int | None = None,
    ):
        super().__init__()
        self.backbone = backbone
        self.pool = GeM(gem_p)
        self.projector = None if projector is None else Projector(backbone.feature_dim, **projector)
        self.matrix = None if projector is None or matrix is None else Matrix(projector["embedding"], matrix)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Normalised pictures [n, 3, h, w] → f float32 [n, c] and e [n, d], None without a projector."""
        feature = self.pool(self.backbone.features(x))
        return feature, None if self.projector is None else self.projector(feature)

    def dimensions(self, kind: Kind) -> int:
        """Length of the descriptor of that kind."""
        head = {"feature": None, "embedding": self.projector, "matrix": self.matrix}[kind]
        return self.backbone.feature_dim if head is None else head.norm.num_features

    @torch.inference_mode()
    def descriptor(
        self,
        x: torch.Tensor,
        kind: Kind = "feature",
        gem: Literal["published", "learned"] = "published",
    ) -> torch.Tensor:
        """Normalised pictures [n, 3, h, w] → raw descriptors, float32 [n, c] or [n, d]; needs eval mode.

        `kind`: the pooled feature, the embedding as D²LV published it (sheet, 5.4), or the second head's output as
        BoT did (sheet, 5.2). `gem`: the exponent 3, as the published test code of both has it whatever was learned
        (D²LV sheet, E10), or the learned one. InputError if a head is asked of a model that has none.
        """
        if self.training:
            raise RuntimeError("descriptors are computed in eval mode: call model.eval() first")
        if kind not in get_args(Kind) or gem not in ("published", "learned"):
            raise InputError(
                f"descriptor {kind!r} with gem {gem!r}: choose {', '.join(get_args(Kind))}, and published or learned"
            )
        feature = self.pool(self.backbone.features(x), PUBLISHED_GEM_EXPONENT if gem == "published" else None)
        if kind == "feature":
            return feature
        if self.projector is None:
            raise InputError(f"this model of {self.backbone.name} has no embedding: use its feature as descriptor")
        embedding = self.projector(feature)
        if kind == "embedding":
            return embedding.float()
        if self.matrix is None:
            raise InputError(f"this model of {self.backbone.name} has no second head: use its feature as descriptor")
        return self.matrix(embedding).float()


def load_copy_model(path: str | Path) -> CopyModel:
    """The model in a weights file, in eval mode.

    A trained model's header names its network and its heads; a backbone's file gives a model that was
    never trained on copies: pooled features with the published exponent, no embedding. InputError for any
    other file.
    """
    state, header = read_weights(path)
    kind = header.get("kind")
    if kind not in ("model", "backbone") or "network" not in header:
        raise InputError(f"{path} holds neither a model nor a backbone, its header says: {header}")
    model = CopyModel(create_backbone(header["network"]), header.get("projector"), matrix=header.get("matrix"))
    (model if kind == "model" else model.backbone).load_state_dict(state)
    return model.eval()
