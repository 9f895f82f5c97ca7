"""The teacher's batch norm beside the rule written out, and in every kind of network."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from copytrace.networks.momentum_norm import (
    MomentumBatchNorm,
    momentum_norms,
    with_momentum_norms,
    without_momentum_norms,
)
from copytrace.networks.names import FEATURE_WIDTHS
from copytrace.networks.registry import create_backbone
from copytrace.networks.resnet import SplitNorm
from copytrace.networks.weights import seeded


def by_hand(views, share, running, weight, bias, double):
    """One step, in plain loops: the outputs of both views and the running statistics after them."""
    outputs, means, variances = [], [], []
    for view in views:
        mean, variance = np.empty(view.shape[1]), np.empty(view.shape[1])
        out = np.empty_like(view)
        for channel in range(view.shape[1]):
            values = view[:, channel].ravel()
            n = len(values)
            mean[channel] = sum(values) / n
            variance[channel] = sum((v - mean[channel]) ** 2 for v in values) / n
            if double:
                variance[channel] *= n / (n - 1) * n / (n - 1)
            used_mean = share * mean[channel] + (1 - share) * running[0][channel]
            used_variance = share * variance[channel] + (1 - share) * running[1][channel]
            normalised = (view[:, channel] - used_mean) / math.sqrt(used_variance + 1e-5)
            out[:, channel] = normalised * weight[channel] + bias[channel]
        outputs.append(out)
        means.append(mean)
        variances.append(variance)
    running_mean = share * (means[0] + means[1]) / 2 + (1 - share) * running[0]
    running_variance = share * (variances[0] + variances[1]) / 2 + (1 - share) * running[1]
    return outputs, (running_mean, running_variance)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("shape, kind", [((5, 3), nn.BatchNorm1d), ((4, 3, 2, 3), nn.BatchNorm2d)])
def test_it_equals_the_rule_written_out(shape, kind, double):
    draw = np.random.default_rng(0)
    plain = kind(3).double()
    weight, bias = draw.normal(1, 0.5, 3), draw.normal(size=3)
    running = draw.normal(size=3), draw.uniform(0.5, 2, 3)
    with torch.no_grad():
        for parameter, value in zip((plain.weight, plain.bias, plain.running_mean, plain.running_var),
                                    (weight, bias, *running)):  # fmt: skip
            parameter.copy_(torch.from_numpy(value))
    norm = MomentumBatchNorm(plain, double)
    for share in (1.0, 0.7, 0.1):
        views = [draw.normal(1, 2, shape), draw.normal(-1, 3, shape)]
        norm.share = share
        expected, running = by_hand(views, share, running, weight, bias, double)
        for view, out in zip(views, expected):
            np.testing.assert_allclose(norm(torch.from_numpy(view)).detach(), out, rtol=0, atol=1e-12)
        norm.remember()
        np.testing.assert_allclose(norm.norm.running_mean, running[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(norm.norm.running_var, running[1], rtol=0, atol=1e-12)


def test_the_whole_share_is_an_ordinary_batch_norm_in_training():
    x = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0)) * 3 + 1
    norm = MomentumBatchNorm(nn.BatchNorm2d(4))
    torch.testing.assert_close(norm(x), nn.BatchNorm2d(4).train()(x))


def test_evaluation_uses_running_statistics_and_changes_nothing():
    """P4 of the sheet: the published one goes on updating."""
    x, y, seen_by_evaluation = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0))
    norm = MomentumBatchNorm(nn.BatchNorm1d(4))
    norm(x)
    norm.remember()
    before = copy.deepcopy(norm.state_dict())
    torch.testing.assert_close(before["norm.running_mean"], x.mean(0))
    plain = nn.BatchNorm1d(4).eval()
    plain.load_state_dict(norm.norm.state_dict())
    norm(y)
    norm.eval()
    assert torch.equal(norm(seen_by_evaluation), plain(seen_by_evaluation))
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    norm.share = 0.5
    norm.remember()
    torch.testing.assert_close(norm.norm.running_mean, (x.mean(0) + y.mean(0)) / 2)


def test_statistics_are_float32_under_autocast():
    x = (torch.randn(64, 4, 8, 8, generator=torch.Generator().manual_seed(0)) + 5).bfloat16()
    norm, exact = MomentumBatchNorm(nn.BatchNorm2d(4)), MomentumBatchNorm(nn.BatchNorm2d(4))
    with torch.autocast("cpu", torch.bfloat16):
        out = norm(x)
    expected = exact(x.float())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, rtol=0, atol=0.02)  # of values up to 4, in 8 bits
    norm.remember()
    exact.remember()
    assert torch.equal(norm.norm.running_mean, exact.norm.running_mean)
    assert torch.equal(norm.norm.running_var, exact.norm.running_var)


NETWORKS = [*FEATURE_WIDTHS, "timm:resnet18", "timm:efficientnet_b0", "timm:vit_tiny_patch16_224"]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_backbone_can_be_a_teacher(name):
    """With the whole share it computes what the network computes in training; taken back, it has its old names."""
    with seeded("test", name), torch.no_grad():
        plain = create_backbone(name).double()  # differences grow from layer to layer
        for module in plain.modules():  # else some blocks of some networks begin as nothing
            if isinstance(module, (nn.BatchNorm2d, nn.InstanceNorm2d)):
                module.weight.uniform_(0.5, 1.5)
        pictures = torch.randn(2, 3, 64, 64, dtype=torch.float64)
        norms = [m for m in plain.modules() if isinstance(m, nn.BatchNorm2d)]
        instance_norms = sum(isinstance(m, nn.InstanceNorm2d) for m in plain.modules())
        teacher = with_momentum_norms(copy.deepcopy(plain))
        assert len(list(momentum_norms(teacher))) == len(norms)
        assert bool(norms) == ("vit" not in name)
        assert sum(isinstance(m, nn.InstanceNorm2d) for m in teacher.modules()) == instance_norms
        torch.testing.assert_close(teacher(pictures), plain.train()(pictures), rtol=0, atol=1e-8)
        for norm in momentum_norms(teacher):
            norm.remember()
        assert list(without_momentum_norms(teacher).state_dict()) == list(plain.state_dict())
        assert not list(momentum_norms(teacher))
        for module, original in zip(teacher.modules(), plain.modules(), strict=True):
            if isinstance(module, nn.BatchNorm2d):  # `plain` has moved a tenth of the way from 0
                torch.testing.assert_close(module.running_mean, 10 * original.running_mean, rtol=0, atol=1e-8)


def test_half_of_an_ibn_a_norm_has_a_memory():
    teacher = with_momentum_norms(create_backbone("resnet50_ibn_a"))
    split = [m for m in teacher.modules() if isinstance(m, SplitNorm)]
    assert len(split) == 3 + 4 + 6  # the first norm of each block of three stages
    assert all(isinstance(m.BN, MomentumBatchNorm) and isinstance(m.IN, nn.InstanceNorm2d) for m in split)
    assert all(m.BN.norm.num_features == m.IN.num_features for m in split)
