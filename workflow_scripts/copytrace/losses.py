"""Losses of the published trainings. All compute in float32, whatever autocast says."""

from __future__ import annotations

import torch
from torch.nn import functional

from copytrace import distributed


def label_smoothed_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.1, classes: int | None = None
) -> torch.Tensor:
    """Cross-entropy with the target (1 − s)·one-hot + s/C, mean over the batch (D²LV sheet, 4.2).

    `logits` [n, C]; `labels` int64 [n], each in 0 … C−1; `smoothing` s in [0, 1). Returns a float32 scalar. Where
    several processes share the C `classes`, `logits` are those of this process's part, and all get the same loss (T6).
    """
    classes = logits.shape[1] if classes is None else classes
    own = distributed.part(classes)
    log_probability = _log_softmax(logits)
    ours = (labels >= own.start) & (labels < own.stop)
    of_label = functional.nll_loss(
        log_probability, torch.where(ours, labels - own.start, -1), ignore_index=-1, reduction="sum"
    ) / len(labels)
    of_all = -log_probability.sum(dim=1).mean()
    return distributed.summed((1 - smoothing) * of_label + of_all * (smoothing / classes))


def distillation(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float, detach_teacher: bool = False
) -> torch.Tensor:
    """−Σ_c softmax(z_A/T)_c · log softmax(z_B/T)_c, mean over the batch (BoT sheet, 4.2); no factor T².

    `student` z_B and `teacher` z_A: logits [n, C] of the same pictures. As published the gradient flows into the
    teacher, too; not with `detach_teacher`. Returns a float32 scalar. Where several processes share the classes, both
    are the logits of this process's part.
    """
    teacher = teacher.detach() if detach_teacher else teacher
    target = _softmax(teacher.float() / temperature)
    log_probability = _log_softmax(student.float() / temperature)
    return distributed.summed(-(log_probability * target).sum() / len(student))


def _log_softmax(logits: torch.Tensor) -> torch.Tensor:
    """Logarithm of the softmax over the classes of all processes; [n, c] of this process's → float32 [n, c]."""
    if distributed.world() == 1:
        return functional.log_softmax(logits.float(), dim=1)
    ours = logits.float().logsumexp(dim=1)
    return logits.float() - distributed.gathered(ours[None]).logsumexp(dim=0)[:, None]


def _softmax(logits: torch.Tensor) -> torch.Tensor:
    """Softmax over the classes of all processes; [n, c] of this process's → float32 [n, c]."""
    return functional.softmax(logits.float(), dim=1) if distributed.world() == 1 else _log_softmax(logits).exp()


def soft_margin_triplet(features: torch.Tensor, labels: torch.Tensor, margin: float = 0.0) -> torch.Tensor:
    """Batch-hard triplet loss with a soft margin on Euclidean distances, mean over anchors (D²LV sheet, 4.2).

    −m·log p₀ − (1−m)·log p₁ with p = softmax(d_ap, d_an) for the farthest positive and the nearest negative
    of each anchor; with the published `margin` m = 0 that is softplus(d_ap − d_an). The anchor counts among
    its positives. `features` [n, c], not normalised; `labels` int [n] with at least two different values.
    Returns a float32 scalar.
    """
    distance = _pairwise_distance(features)
    same = labels[:, None] == labels[None, :]
    if bool(same.all()):
        raise ValueError("a batch for the triplet loss needs pictures of two classes or more")
    positive = distance.masked_fill(~same, -torch.inf).amax(dim=1)
    negative = distance.masked_fill(same, torch.inf).amin(dim=1)
    toward = functional.softplus(positive - negative)
    loss = (1 - margin) * toward + margin * functional.softplus(negative - positive) if margin else toward
    return loss.mean()


def _pairwise_distance(features: torch.Tensor) -> torch.Tensor:
    """Euclidean distances between all rows, [n, c] → float32 [n, n]; squares clamped at 1e-12."""
    with torch.autocast(features.device.type, enabled=False):  # autocast would round the products to 8 bits
        x = features.float()
        square = x.square().sum(dim=1)
        squared = square[:, None] + square[None, :] - 2 * x @ x.T
    return squared.clamp(min=1e-12).sqrt()


def barlow_twins_loss(z1: torch.Tensor, z2: torch.Tensor, off_diagonal_weight: float) -> torch.Tensor:
    """Σ(1 − C_ii)² + λ·Σ_{i≠j} C_ij² of the cross-correlation C of two views (D²LV sheet, 3.1).

    `z1`, `z2` [n, d]: projections of the two views of the same n pictures; each dimension is normalised over
    the batch by its mean and population standard deviation. λ is `off_diagonal_weight`. Returns a float32
    scalar.
    """
    with torch.autocast(z1.device.type, enabled=False):
        first, second = (
            functional.batch_norm(z.float(), running_mean=None, running_var=None, training=True) for z in (z1, z2)
        )
        correlation = first.T @ second / len(z1)
    diagonal = correlation.diagonal()
    off_diagonal = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + off_diagonal_weight * off_diagonal


def momentum_teacher_loss(q1: torch.Tensor, q2: torch.Tensor, k1: torch.Tensor, k2: torch.Tensor) -> torch.Tensor:
    """4 − 2·(⟨q₁, k₂⟩ + ⟨q₂, k₁⟩) of unit vectors, mean over the batch: in [0, 8] (D²LV sheet, 3.2).

    That is ‖q₁ − k₂‖² + ‖q₂ − k₁‖². `q1`, `q2` [n, d]: the student's predictions from the two views of the same n
    pictures; `k1`, `k2` [n, d]: the teacher's projections. They are normalised here. Returns a float32 scalar.
    """
    first = functional.cosine_similarity(q1.float(), k2.float())
    second = functional.cosine_similarity(q2.float(), k1.float())
    return (4 - 2 * (first + second)).mean()
