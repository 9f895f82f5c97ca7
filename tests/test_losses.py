"""Losses against closed forms and against loops over pictures in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from copytrace.losses import (
    barlow_twins_loss,
    distillation,
    label_smoothed_cross_entropy,
    momentum_teacher_loss,
    soft_margin_triplet,
)


def random_batch(seed, n=12, dim=7, classes=4):
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(n, dim)).astype(np.float32)
    return features, np.arange(n) % classes


def brute_force_triplet(features, labels, margin):
    losses = []
    for i in range(len(features)):
        distances = [max(float(((features[i] - other) ** 2).sum()), 1e-12) ** 0.5 for other in features]
        positive = max(d for d, label in zip(distances, labels) if label == labels[i])
        negative = min(d for d, label in zip(distances, labels) if label != labels[i])
        total = math.exp(positive) + math.exp(negative)
        losses.append(
            -margin * math.log(math.exp(positive) / total) - (1 - margin) * math.log(math.exp(negative) / total)
        )
    return np.mean(losses)


@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_triplet_equals_brute_force(seed, margin):
    features, labels = random_batch(seed)
    loss = soft_margin_triplet(torch.from_numpy(features), torch.from_numpy(labels), margin)
    assert loss.item() == pytest.approx(brute_force_triplet(features, labels, margin), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_alone_both_losses_over_classes_are_torchs_to_the_last_bit(smoothing, kind):
    """Written out so that several processes can share the classes, they are no others for one."""
    draw = torch.Generator().manual_seed(0)
    values = [torch.randn(24, 240, generator=draw).to(kind) for _ in range(2)]
    labels = torch.randint(0, 240, (24,), generator=draw)
    (student, teacher), (other, taught) = ([v.clone().requires_grad_() for v in values] for _ in range(2))
    ours = label_smoothed_cross_entropy(student, labels, smoothing), distillation(student, teacher, 2)
    target = torch.nn.functional.softmax(taught.float() / 2, dim=1)
    torchs = (
        torch.nn.functional.cross_entropy(other.float(), labels, label_smoothing=smoothing),
        torch.nn.functional.cross_entropy(other.float() / 2, target),
    )
    for loss in (ours, torchs):
        (10 * loss[0] + 2 * loss[1]).backward()
    pairs = zip((*ours, student.grad, teacher.grad), (*torchs, other.grad, taught.grad), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_triplet_of_a_triangle():
    features = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 12.0]])
    labels = torch.tensor([0, 0, 1])
    far = math.hypot(3, 8)
    # distances: 5 within class 0; 12 and √73 across; the third has no positive but itself
    expected = [math.log1p(math.exp(5 - 12)), math.log1p(math.exp(5 - far)), math.log1p(math.exp(-far))]
    assert soft_margin_triplet(features, labels).item() == pytest.approx(np.mean(expected), rel=1e-4)


def test_triplet_is_no_hinge():
    """Well separated pairs still cost something, and equal distances cost ln 2."""
    features = torch.tensor([[0.0], [0.0], [0.0], [0.0]])
    labels = torch.tensor([0, 0, 1, 1])
    assert soft_margin_triplet(features, labels).item() == pytest.approx(math.log(2), rel=1e-6)


def test_triplet_gradient_is_that_of_differences():
    features, labels = random_batch(3, n=6, dim=3, classes=2)
    x = torch.from_numpy(features).requires_grad_()
    soft_margin_triplet(x, torch.from_numpy(labels)).backward()
    for i, j in ((0, 0), (3, 2), (5, 1)):
        up, down = features.astype(np.float64), features.astype(np.float64)
        up[i, j] += 1e-5
        down[i, j] -= 1e-5
        slope = (brute_force_triplet(up, labels, 0.0) - brute_force_triplet(down, labels, 0.0)) / 2e-5
        assert x.grad[i, j].item() == pytest.approx(slope, abs=2e-5)


def test_triplet_gradient_is_finite_for_equal_pictures():
    x = torch.ones(4, 5, requires_grad=True)
    soft_margin_triplet(x, torch.tensor([0, 0, 1, 1])).backward()
    assert torch.isfinite(x.grad).all()


def test_triplet_needs_two_classes():
    with pytest.raises(ValueError, match="two classes"):
        soft_margin_triplet(torch.rand(4, 3), torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_equals_brute_force(smoothing):
    draw = np.random.default_rng(1)
    logits, labels = draw.normal(size=(5, 6)), draw.integers(0, 6, 5)
    expected = []
    for row, label in zip(logits, labels):
        log_p = row - np.log(np.exp(row).sum())
        target = np.full(6, smoothing / 6)
        target[label] += 1 - smoothing
        expected.append(-(target * log_p).sum())
    loss = label_smoothed_cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels), smoothing)
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-6)


def test_cross_entropy_without_knowledge_is_the_logarithm_of_the_classes():
    assert label_smoothed_cross_entropy(torch.zeros(3, 50), torch.tensor([0, 7, 49])).item() == pytest.approx(
        math.log(50), rel=1e-6
    )


def test_barlow_twins_equals_brute_force():
    draw = np.random.default_rng(2)
    z1 = draw.normal(2, 3, size=(9, 4))
    z2 = z1 + draw.normal(size=(9, 4))
    loss = 0.0
    for i in range(4):
        for j in range(4):
            a = (z1[:, i] - z1[:, i].mean()) / math.sqrt(z1[:, i].var() + 1e-5)
            b = (z2[:, j] - z2[:, j].mean()) / math.sqrt(z2[:, j].var() + 1e-5)
            c = (a * b).mean()
            loss += (1 - c) ** 2 if i == j else 0.0051 * c**2
    ours = barlow_twins_loss(torch.from_numpy(z1), torch.from_numpy(z2), 0.0051)
    assert ours.item() == pytest.approx(loss, rel=1e-4)


def test_barlow_twins_is_zero_for_equal_views_without_correlation():
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert barlow_twins_loss(signs, 3 * signs + 5, 1.0).item() == pytest.approx(0, abs=1e-8)
    assert barlow_twins_loss(signs, -signs, 1.0).item() == pytest.approx(8, rel=1e-4)  # (1 − (−1))² twice
    twice = signs[:, :1].repeat(1, 2)
    assert barlow_twins_loss(twice, twice, 0.5).item() == pytest.approx(1, rel=1e-4)  # two off-diagonal ones × ½


def test_momentum_teacher_is_the_distance_of_unit_vectors():
    draw = np.random.default_rng(3)
    q1, q2, k1, k2 = draw.normal(size=(4, 7, 5))
    q1 *= 9  # lengths do not count
    u1, u2, v1, v2 = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q1, q2, k1, k2))
    expected = (((u1 - v2) ** 2).sum(1) + ((u2 - v1) ** 2).sum(1)).mean()
    loss = momentum_teacher_loss(*map(torch.from_numpy, (q1, q2, k1, k2)))
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_momentum_teacher_compares_each_view_with_the_other():
    x, y = torch.eye(2)  # two directions at a right angle
    x, y = x[None], y[None]
    assert momentum_teacher_loss(x, y, y, x).item() == 0
    assert momentum_teacher_loss(x, y, x, y).item() == 4  # the same view would be no task
    assert momentum_teacher_loss(x, y, -y, -x).item() == 8


def test_losses_compute_in_float32_under_autocast():
    features, labels = random_batch(7, n=16, dim=64)
    x, y = torch.from_numpy(features).bfloat16(), torch.from_numpy(labels)
    plain = x.float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = [
            soft_margin_triplet(x, y),
            barlow_twins_loss(x, x.flip(0), 0.01),
            momentum_teacher_loss(x, x, x.flip(0), x.roll(1, 0)),
            label_smoothed_cross_entropy(x, y),
        ]
    outside = [
        soft_margin_triplet(plain, y),
        barlow_twins_loss(plain, plain.flip(0), 0.01),
        momentum_teacher_loss(plain, plain, plain.flip(0), plain.roll(1, 0)),
        label_smoothed_cross_entropy(plain, y),
    ]
    for a, b in zip(inside, outside):
        assert a.dtype == torch.float32
        assert a.item() == pytest.approx(b.item(), rel=1e-6)


# Distillation (BoT sheet, 4.2)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (3.0, 1.0), (-2.0, 4.0)])
def test_distillation_of_two_classes(a, b, temperature):
    """With teacher (a, 0) and student (b, 0): a cross-entropy of two sigmoids, and no factor T²."""
    teacher = torch.tensor([[a, 0.0]] * 3, requires_grad=True)
    student = torch.tensor([[b, 0.0]] * 3, requires_grad=True)
    loss = distillation(student, teacher, temperature)
    p, q = (1 / (1 + math.exp(-x / temperature)) for x in (a, b))
    assert loss.item() == pytest.approx(-p * math.log(q) - (1 - p) * math.log(1 - q), rel=1e-5)
    loss.backward()
    assert student.grad[:, 0].sum().item() == pytest.approx((q - p) / temperature, abs=1e-6)
    # d/da of p·(log(1 − q) − log q), and log q − log(1 − q) = b/T
    assert teacher.grad[:, 0].sum().item() == pytest.approx(-p * (1 - p) / temperature * b / temperature, abs=1e-6)


def test_a_detached_teacher_learns_nothing_and_teaches_the_same():
    rng = torch.Generator().manual_seed(0)
    teacher, student = (torch.randn(5, 7, generator=rng, requires_grad=True) for _ in range(2))
    published, detached = (distillation(student, teacher, 2.0, detach) for detach in (False, True))
    assert published.item() == detached.item()
    (of_student,) = torch.autograd.grad(published, student, retain_graph=True)
    detached.backward()
    assert teacher.grad is None
    torch.testing.assert_close(student.grad, of_student)
