"""Training of one model: a family's synthesised set × a backbone (D²LV sheet, section 4; BoT sheet, section 4)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from copytrace import distributed, losses, schedules
from copytrace.fitting import StepModule
from copytrace.networks.heads import Classifier
from copytrace.networks.layers import set_wave_start
from copytrace.networks.model import CopyModel
from copytrace.networks.weights import seeded
from copytrace.preprocessing import to_network_input
from copytrace.runtime import generator
from copytrace.synthesis.tarset import TrainingSet


@dataclass(frozen=True)
class MatrixSettings:
    """The second head of the descriptor track and its losses: keys of the section `descriptor_track`."""

    dimensions: int
    cross_entropy_weight: float
    distillation_weight: float
    temperature: float
    detach_teacher: bool


@dataclass(frozen=True)
class TrainingSettings:
    """The section `training` of the configuration as it holds for a family; `augment`: flip and shift the copies.

    `matrix`: of the descriptor track's family, the second head.
    """

    steps: int
    epochs: int
    warmup_epochs: int
    flat_epochs: int
    classes_per_batch: int
    copies_per_class: int
    backbone_learning_rate: float
    head_learning_rate: float
    cross_entropy_weight: float
    label_smoothing: float
    triplet_weight: float
    waveblock: bool
    projector_hidden: int
    embedding: int
    padding: int
    padding_reference_side: int | None
    precision: str
    synchronised_batch_norm: bool
    augment: bool
    matrix: MatrixSettings | None = None

    @classmethod
    def from_table(cls, section: Mapping[str, Any]) -> TrainingSettings:
        """The section as `configuration.training_of` gives it."""
        matrix = {"matrix": MatrixSettings(**section["matrix"])} if "matrix" in section else {}
        return cls(**{**section, **matrix})

    @property
    def steps_per_epoch(self) -> int:
        """The schedule moves once an epoch; the last one may be shorter."""
        return math.ceil(self.steps / self.epochs)


class ClassBalancedBatches(Dataset):
    """The batch of each step: P classes × K copies, flipped and shifted (D²LV sheet, 4.3).

    One pass takes the classes in a random order, P at a time; each epoch starts a new pass. Of each class K copies
    are drawn, see `draw_copies`. Item: (step, uint8 [P·K, h, w, 3], labels [P·K]). Where several processes train, each
    draws the same batch and gets the pictures of its part of it, and the labels of all.
    """

    def __init__(self, training_set: TrainingSet, settings: TrainingSettings, identity: tuple[object, ...]):
        self.set, self.settings, self.identity = training_set, settings, identity
        self.classes = np.asarray(training_set.classes)
        self.own = distributed.part(settings.classes_per_batch * settings.copies_per_class)
        self.padding = self._padding() if settings.augment else 0
        self.batches_per_pass = max(len(self.classes) // settings.classes_per_batch, 1)

    def __getitem__(self, step: int) -> tuple[int, torch.Tensor, torch.Tensor]:
        """The batch of `step`, the same whenever it is asked for."""
        draw = generator(*self.identity, "batch", step)
        drawn, labels = [], []
        for label in self._classes_of(step):
            rows = np.asarray(self.set.copies_of(self.classes[label]))
            for row in draw_copies(rows, self.settings.copies_per_class, draw):
                drawn.append((int(row), *self._draw_shift(draw)))
                labels.append(label)
        pictures = [self._shifted(*one) for one in drawn[self.own]]
        return step, torch.from_numpy(np.stack(pictures)), torch.tensor(labels)

    def _classes_of(self, step: int) -> np.ndarray:
        epoch, within = divmod(step, self.settings.steps_per_epoch)
        turn, batch = divmod(within, self.batches_per_pass)
        order = generator(*self.identity, "pass", epoch, turn).permutation(len(self.classes))
        size = self.settings.classes_per_batch
        return order[batch * size : (batch + 1) * size]

    def _padding(self) -> int:
        """The largest shift in pixels of the set's copies, which have one size."""
        side, *_ = simplejpeg.decode_jpeg_header(self.set.read(0))
        reference = self.settings.padding_reference_side
        return round(self.settings.padding * side / reference) if reference else self.settings.padding

    def _draw_shift(self, draw: np.random.Generator) -> tuple[bool, int, int]:
        """Whether a copy is flipped, with probability 0.5, and where it is cut out of its zeros; as it is: no draw."""
        if not self.settings.augment:
            return False, 0, 0
        flip = draw.random() < 0.5
        top, left = draw.integers(0, 2 * self.padding + 1, size=2)
        return flip, top, left

    def _shifted(self, row: int, flip: bool, top: int, left: int) -> np.ndarray:
        """One copy, flipped or not, cut out of itself with zeros beyond its edge."""
        picture = simplejpeg.decode_jpeg(self.set.read(row), "RGB")
        side, width = picture.shape[0], self.padding
        padded = np.pad(picture[:, ::-1] if flip else picture, ((width, width), (width, width), (0, 0)))
        return padded[top : top + side, left : left + side]


def draw_copies(rows: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    """`count` of a class's `rows` (at least two): all different, or one and then others again and again.

    (D²LV sheet, 4.3: one at random and `count` − 1 of the others, with repetition where they are too few. So of a
    pair, 4.4, one picture comes once and the other `count` − 1 times.)
    """
    if len(rows) >= count:
        return draw.choice(rows, size=count, replace=False)
    first = draw.integers(len(rows))
    return np.r_[rows[first], draw.choice(np.delete(rows, first), size=count - 1)]


class CopyTraining(StepModule):
    """10·cross-entropy with label smoothing on the embedding + soft-margin batch-hard triplet on the feature.

    Where several processes train, each has a copy of the model for its part of the batch, and its own rows of the
    classifiers; both losses are those of the whole batch. A checkpoint holds the classifiers undivided.
    """

    def __init__(self, model: CopyModel, classes: int, settings: TrainingSettings, identity: tuple[object, ...]):
        super().__init__()
        self.model, self.settings, self.identity = model, settings, identity
        with seeded(*identity, "classifier"):
            self.classifier = Classifier(settings.embedding, classes)

    def training_step(self, batch: tuple[int, torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        """The loss of one batch, the same in every process."""
        step, pictures, labels = batch
        set_wave_start(self.model, float(generator(*self.identity, "wave", int(step)).random()))
        feature, embedding = self.model(to_network_input(pictures, self.device))
        logits = self.classifier(distributed.gathered(embedding))
        cross_entropy = self.cross_entropy(logits, labels)
        triplet = losses.soft_margin_triplet(distributed.gathered(feature), labels)
        loss = self.settings.cross_entropy_weight * cross_entropy + self.settings.triplet_weight * triplet
        with torch.no_grad():
            accuracy = (self.classifier.predicted(logits) == labels).float().mean()
        more, figures = self.loss_of_second_head(embedding, logits, labels)
        self.record(cross_entropy=cross_entropy, triplet=triplet, accuracy=accuracy, **figures)
        return loss + more

    def cross_entropy(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Of a classifier's logits, with the label smoothing of the settings."""
        return losses.label_smoothed_cross_entropy(
            logits, labels, self.settings.label_smoothing, self.classifier.classes
        )

    def loss_of_second_head(
        self, embedding: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor | float, dict[str, torch.Tensor]]:
        """What a second head adds to the loss, and its figures for the curve; there is none."""
        return 0.0, {}

    def learned(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The parameters of the backbone, and the others that are trained."""
        backbone = list(self.model.backbone.parameters())
        return backbone, [p for p in self.parameters() if not any(p is b for b in backbone) and p.requires_grad]

    def classifiers(self) -> dict[str, Classifier]:
        """The classifiers, by their names in the state dict."""
        return {f"{name}.weight": child for name, child in self.named_children() if isinstance(child, Classifier)}

    def setup(self, stage: str) -> None:
        """Leave the classifiers, of which every process has other rows, out of DDP's mean."""
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, list(self.classifiers()))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the classifiers and their moments undivided, for any number of processes."""
        super().on_save_checkpoint(checkpoint)
        for table, name, classifier in self._rows_of_classes(checkpoint):
            table[name] = distributed.whole(table[name], classifier.classes)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take this process's rows of the classifiers and of their moments."""
        super().on_load_checkpoint(checkpoint)
        for table, name, classifier in self._rows_of_classes(checkpoint):
            table[name] = table[name][classifier.own]

    def _rows_of_classes(self, checkpoint: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, Classifier]]:
        """What of a checkpoint has a row per class, as a table and a name in it, and the classifier that it is of."""
        order = [p for group in self.learned() for p in group]
        moments = checkpoint["optimizer_states"][0]["state"]
        for weight, classifier in self.classifiers().items():
            yield checkpoint["state_dict"], weight, classifier
            number = next(i for i, p in enumerate(order) if p is classifier.weight)
            moments[number] = dict(moments[number])  # the optimiser goes on with its own
            for moment in ("exp_avg", "exp_avg_sq"):
                yield moments[number], moment, classifier

    def configure_optimizers(self) -> Any:
        """Adam without weight decay; the published schedule as a function of the number of epochs."""
        s = self.settings
        backbone, head = self.learned()
        optimiser = torch.optim.Adam(
            [
                {"params": backbone, "lr": s.backbone_learning_rate},
                {"params": head, "lr": s.head_learning_rate},
            ]
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser,
            lambda step: schedules.lr_factor(
                min(step // s.steps_per_epoch, s.epochs - 1), s.epochs, s.warmup_epochs, s.flat_epochs
            ),
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class TrackTraining(CopyTraining):
    """BoT: a second head learns the classes, and what the embedding's classifier says of them (BoT sheet, 4.2).

    L = 10·CE_A + 1·CE_B + 2·KD + 1·triplet with the published weights. Its gradients flow through the embedding into
    projector and backbone.
    """

    def __init__(self, model: CopyModel, classes: int, settings: TrainingSettings, identity: tuple[object, ...]):
        super().__init__(model, classes, settings, identity)
        assert settings.matrix is not None
        self.matrix = settings.matrix
        with seeded(*identity, "matrix classifier"):
            self.matrix_classifier = Classifier(self.matrix.dimensions, classes)

    def loss_of_second_head(
        self, embedding: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor | float, dict[str, torch.Tensor]]:
        """Weighted cross-entropy and distillation of the second head."""
        assert self.model.matrix is not None
        own = self.matrix_classifier(distributed.gathered(self.model.matrix(embedding)))
        cross_entropy = self.cross_entropy(own, labels)
        distilled = losses.distillation(own, logits, self.matrix.temperature, self.matrix.detach_teacher)
        loss = self.matrix.cross_entropy_weight * cross_entropy + self.matrix.distillation_weight * distilled
        return loss, {"matrix_cross_entropy": cross_entropy, "distillation": distilled}


def stripped(model: nn.Module) -> dict[str, torch.Tensor]:
    """What a finished model is made of: its state without the classifiers, which lie outside of it."""
    return {name: value.detach().cpu() for name, value in model.state_dict().items()}
