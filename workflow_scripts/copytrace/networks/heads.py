"""What follows the pooled feature: projector and classifier (D²LV sheet, 4.1), BoT's second head (BoT sheet, 4.1)."""

from __future__ import annotations

import torch
from torch import nn

from copytrace import distributed


class Projector(nn.Module):
    """Linear, BN, LeakyReLU, Linear, BN: feature [n, feature_dim] → embedding [n, embedding].

    Published: `hidden` 4096, `embedding` 8192. The last batch norm's weight starts at 1 and is trained, its
    bias is 0 and frozen.
    """

    def __init__(self, feature_dim: int, hidden: int, embedding: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(feature_dim, hidden),
            nn.BatchNorm1d(hidden),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(hidden, embedding),
        )
        self.norm = nn.BatchNorm1d(embedding)
        self.norm.bias.requires_grad_(False)

    def forward(self, feature: torch.Tensor) -> torch.Tensor:
        """[n, feature_dim] → [n, embedding]."""
        return self.norm(self.mlp(feature))


class Matrix(nn.Module):
    """BN, LeakyReLU, Linear, BN: embedding [n, embedding] → short descriptor [n, dimensions]; BoT's "matrix" head.

    Published: 8192 → 256. The last batch norm's bias is 0 and frozen, as the projector's.
    """

    def __init__(self, embedding: int, dimensions: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.BatchNorm1d(embedding),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(embedding, dimensions),
        )
        self.norm = nn.BatchNorm1d(dimensions)
        self.norm.bias.requires_grad_(False)

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """[n, embedding] → [n, dimensions]."""
        return self.norm(self.mlp(embedding))


class Classifier(nn.Linear):
    """One weight vector per class and no bias, drawn from N(0, 0.001²): [n, embedding] → [n, classes].

    Several processes share the classes: each has the rows `own` of the one draw, and computes their logits for the
    pictures of all (D²LV sheet, T6).
    """

    def __init__(self, embedding: int, classes: int):
        super().__init__(embedding, classes, bias=False)
        self.classes, self.own = classes, distributed.part(classes)
        if distributed.world() > 1:
            self.weight = nn.Parameter(self.weight.detach()[self.own].clone())
            # The mean over processes that DDP takes of what all have; these rows get all of their gradient here.
            self.weight.register_hook(lambda gradient: gradient / distributed.world())

    def reset_parameters(self) -> None:
        """Draw the weights from torch's generator."""
        nn.init.normal_(self.weight, std=0.001)

    def predicted(self, logits: torch.Tensor) -> torch.Tensor:
        """The most probable class of each picture, among those of all processes; logits [n, c] → int64 [n]."""
        best = logits.argmax(dim=1)
        highest = logits.gather(1, best[:, None]).squeeze(1)
        process = distributed.gathered(highest[None]).argmax(dim=0)
        return distributed.gathered(best[None] + self.own.start).gather(0, process[None]).squeeze(0)
