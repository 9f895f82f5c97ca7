"""Layers, backbones and heads against closed forms, published counts and torchvision's networks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from copytrace.errors import InputError
from copytrace.networks.heads import Classifier, Matrix, Projector
from copytrace.networks.layers import GeM, WaveBlock, set_wave_start
from copytrace.networks.model import CopyModel, load_copy_model
from copytrace.networks.names import FEATURE_WIDTHS
from copytrace.networks.registry import create_backbone
from copytrace.networks.resnet import BasicBlock, Bottleneck, ResNet, SplitNorm
from copytrace.networks.weights import load_backbone_weights, save_weights, seeded
from copytrace.preprocessing import to_network_input


@pytest.fixture(scope="module")
def torchvision_models():
    from copytrace.compat import ensure_torchvision

    ensure_torchvision()
    from torchvision import models

    return models


# GeM


@pytest.mark.parametrize(("p", "expected"), [(1.0, 1.5), (2.0, 2.5**0.5), (3.0, 4.5 ** (1 / 3))])
def test_gem_is_the_power_mean(p, expected):
    x = torch.tensor([1.0, 2.0]).reshape(1, 1, 1, 2)
    assert GeM(p)(x).item() == pytest.approx(expected, rel=1e-6)
    assert GeM(5.0)(x, p).item() == pytest.approx(expected, rel=1e-6)


def test_gem_of_a_constant_is_the_constant_and_of_zero_the_clamp():
    pooled = GeM()(torch.stack([torch.full((4, 3, 3), 0.7), torch.zeros(4, 3, 3)]))
    assert pooled.shape == (2, 4)
    torch.testing.assert_close(pooled[0], torch.full((4,), 0.7))
    torch.testing.assert_close(pooled[1], torch.full((4,), 1e-6))


def test_gem_nears_the_maximum():
    assert GeM(200.0)(torch.tensor([0.2, 0.9, 1.0, 0.4]).reshape(1, 1, 2, 2)).item() == pytest.approx(1, abs=0.01)


def test_gem_learns_its_exponent():
    pool = GeM()
    x = torch.tensor([1.0, 2.0]).reshape(1, 1, 1, 2)
    pool(x).sum().backward()
    # d/dp of ((1 + 2^p)/2)^(1/p) at p = 3
    m, dm = 4.5, 8 * np.log(2) / 2
    assert pool.p.grad.item() == pytest.approx(m ** (1 / 3) * (dm / (3 * m) - np.log(m) / 9), rel=1e-4)


def test_gem_computes_in_float32_under_autocast():
    x = torch.tensor([1.0, 2.0]).reshape(1, 1, 1, 2).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        pooled = [GeM()(x), GeM()(x, 3.0)]
    for value in pooled:
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(4.5 ** (1 / 3), rel=1e-6)


# WaveBlock


@pytest.mark.parametrize(("rows", "strip"), [(32, 10), (16, 5)])
@pytest.mark.parametrize("u", [0.0, 0.37, 0.999999])
def test_waveblock_spares_one_strip(rows, strip, u):
    block = WaveBlock()
    set_wave_start(block, u)
    gain = block(torch.ones(2, 3, rows, 4))
    assert (gain == gain[:1, :1, :, :1]).all()  # one strip for the batch, all channels and columns
    column = gain[0, 0, :, 0].tolist()
    first = column.index(1.0)
    assert column == [1.5] * first + [1.0] * strip + [1.5] * (rows - strip - first)
    if u == 0:
        assert first == 0
    if u > 0.99:
        assert first == rows - strip


def test_waveblock_reaches_every_place_equally_often_and_two_blocks_independently():
    blocks = torch.nn.Sequential(WaveBlock(), WaveBlock())
    x = torch.ones(1, 1, 32, 1)
    places = np.zeros((23, 23))
    for u in np.random.default_rng(0).random(6000):
        set_wave_start(blocks, u)
        first, second = (int((block(x)[0, 0, :, 0] == 1).int().argmax()) for block in blocks)
        places[first, second] += 1
    assert (places.sum(0) > 180).all()  # expected 261 ± 16
    assert (places.sum(1) > 180).all()
    expected = 6000 / 23**2
    chi_square = ((places - expected) ** 2 / expected).sum()
    assert chi_square < 23**2 + 6 * np.sqrt(2 * 23**2)


def test_waveblock_does_nothing_in_evaluation_and_refuses_a_wrong_start():
    x = torch.rand(1, 2, 16, 3)
    assert torch.equal(WaveBlock().eval()(x), x)
    with pytest.raises(ValueError):
        set_wave_start(WaveBlock(), 1.0)


def test_waveblock_changes_training_and_no_name_in_the_state_dict():
    with seeded("wave"):
        plain = create_backbone("resnet10_tiny")
    waved = create_backbone("resnet10_tiny", waveblock=True)
    waved.load_state_dict(plain.state_dict())
    assert list(waved.state_dict()) == list(plain.state_dict())
    stages = [name for name, module in waved.named_modules() if isinstance(module, WaveBlock)]
    assert [stage.split(".")[1] for stage in stages] == ["layer2", "layer3"]
    assert all(isinstance(waved.get_submodule(s.rsplit(".", 1)[0])[-1], WaveBlock) for s in stages)
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(waved.eval().features(x), plain.eval().features(x))
    assert not torch.allclose(waved.train().features(x), plain.train().features(x))


# Backbones


@pytest.mark.parametrize(("name", "parameters"), [("resnet50", 23_508_032), ("resnet152", 58_143_808)])
def test_parameter_counts_are_torchvisions(name, parameters, torchvision_models):
    with torch.device("meta"):
        ours = create_backbone(name).network
        theirs = getattr(torchvision_models, name)()
    assert sum(p.numel() for p in ours.parameters()) == parameters
    expected = {k: v.shape for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
    assert {k: v.shape for k, v in ours.state_dict().items()} == expected


@pytest.mark.parametrize("last_stride", [1, 2])
@pytest.mark.parametrize("block", ["BasicBlock", "Bottleneck"])
def test_resnet_computes_what_torchvisions_computes(block, last_stride, torchvision_models):
    theirs = torchvision_models.ResNet(getattr(torchvision_models.resnet, block), [1, 2, 1, 2])
    first = theirs.layer4[0]
    if last_stride == 1:
        (first.conv2 if block == "Bottleneck" else first.conv1).stride = (1, 1)
        first.downsample[0].stride = (1, 1)
    ours = ResNet({"BasicBlock": BasicBlock, "Bottleneck": Bottleneck}[block], (1, 2, 1, 2), last_stride=last_stride)
    ours.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")})
    theirs.avgpool = theirs.fc = torch.nn.Identity()
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(ours(x).flatten(1), theirs(x))  # in training mode: batch statistics too


@pytest.mark.parametrize(("side", "rows"), [(256, 16), (200, 13), (320, 20)])
def test_map_sizes_of_the_published_scales(side, rows):
    for name in ("resnet50", "resnet152", "resnet50_ibn_a"):
        with torch.device("meta"):
            assert create_backbone(name).features(torch.empty(2, 3, side, side)).shape == (
                2,
                2048,
                rows,
                rows,
            )
    assert create_backbone("resnet10_tiny").eval().features(torch.rand(1, 3, side, side)).shape[2:] == (
        rows,
        rows,
    )


@pytest.mark.parametrize("name", FEATURE_WIDTHS)
def test_every_own_network_gives_the_map_it_promises(name):
    with torch.device("meta"):
        backbone = create_backbone(name)
        features = backbone.features(torch.empty(2, 3, 96, 96))
    assert backbone.name == name
    stride = 32 if name == "mobilenet_v2" else 16
    assert features.shape == (2, backbone.feature_dim, 96 // stride, 96 // stride)


def test_widths_and_depths_of_the_small_networks():
    def widths(name):
        network = create_backbone(name).network
        return [
            (len(stage), stage[-1].conv2.out_channels)
            for stage in (network.layer1, network.layer2, network.layer3, network.layer4)
        ]

    assert widths("resnet10_half") == widths("resnet10_half_ibn_a") == [(1, 32), (1, 64), (1, 128), (1, 256)]
    assert widths("resnet12_half") == [(1, 32), (1, 64), (2, 128), (1, 256)]
    assert widths("resnet12_tiny") == [(1, 8), (1, 16), (2, 32), (1, 64)]


def test_ibn_a_splits_the_first_norm_of_layers_1_to_3_only():
    with torch.device("meta"):
        network = create_backbone("resnet50_ibn_a").network
    split = [name for name, module in network.named_modules() if isinstance(module, SplitNorm)]
    expected = [f"layer{layer}.{i}.bn1" for layer, blocks in ((1, 3), (2, 4), (3, 6)) for i in range(blocks)]
    assert split == expected
    assert network.layer3[0].bn1.IN.num_features == network.layer3[0].bn1.BN.num_features == 128
    assert {"layer1.0.bn1.IN.weight", "layer1.0.bn1.BN.running_mean"} <= set(network.state_dict())


def test_split_norm_is_per_picture_in_the_first_half_and_per_batch_in_the_second():
    x = torch.randn(3, 5, 4, 4) * 2 + torch.arange(3.0).reshape(3, 1, 1, 1)
    y = SplitNorm(5)(x).detach().numpy()
    x = x.numpy()
    first, second = x[:, :2], x[:, 2:]
    per_picture = first - first.mean((2, 3), keepdims=True)
    per_picture /= np.sqrt(first.var((2, 3), keepdims=True) + 1e-5)
    per_batch = second - second.mean((0, 2, 3), keepdims=True)
    per_batch /= np.sqrt(second.var((0, 2, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, np.concatenate([per_picture, per_batch], 1), atol=1e-4)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(InputError, match="resnet50"):
        create_backbone("resnet5")
    with pytest.raises(InputError, match="mobilenet_v2"):
        create_backbone("mobilenetv2")
    with pytest.raises(InputError, match="resnet18"):
        create_backbone("timm:resnett18")
    with pytest.raises(InputError, match="a1_in1k"):
        create_backbone("timm:resnet18.a1_in1")


def test_a_waveblock_needs_stages():
    with pytest.raises(InputError, match="mobilenet_v2 has no stages"):
        create_backbone("mobilenet_v2", waveblock=True)
    assert sum(isinstance(m, WaveBlock) for m in create_backbone("timm:resnet18", waveblock=True).modules()) == 2


@pytest.mark.parametrize(
    ("name", "side", "rows"),
    [
        ("vit_tiny_patch16_224", 96, 6),
        ("swin_tiny_patch4_window7_224", 96, 3),
        ("mobilenetv3_small_050", 96, 3),
    ],
)
def test_timm_networks_give_maps(name, side, rows):
    backbone = create_backbone(f"timm:{name}").eval()
    with torch.inference_mode():
        assert backbone.features(torch.rand(1, 3, side, side)).shape == (1, backbone.feature_dim, rows, rows)


def test_tokens_lie_where_their_patches_were():
    backbone = create_backbone("timm:vit_tiny_patch16_224").eval()
    grey, spot = torch.zeros(2, 1, 3, 64, 96)
    spot[:, :, 16:32, 64:80] = 3.0  # patch in row 1, column 4
    with torch.no_grad():
        # Without attention a token sees its own patch only.
        for block in backbone.network.blocks:
            block.attn.proj.weight.zero_()
            block.attn.proj.bias.zero_()
        change = (backbone.features(spot) - backbone.features(grey)).abs().sum(1)[0]
    assert change.shape == (4, 6)
    assert (change > 1e-3).nonzero().tolist() == [[1, 4]]


def test_a_timm_network_without_a_map_is_refused():
    with pytest.raises(InputError, match="no map"):
        create_backbone("timm:mixer_s32_224").eval().features(torch.rand(1, 3, 224, 224))
    with pytest.raises(InputError, match="takes no pictures of 96×96"):
        create_backbone("timm:mixer_s32_224").eval().features(torch.rand(1, 3, 96, 96))


# Heads and the whole model


def test_projector_normalises_and_keeps_its_last_bias_frozen_at_zero():
    with seeded("projector"):
        projector = Projector(16, hidden=32, embedding=8)
        out = projector(torch.randn(64, 16))
    assert projector.norm.weight.requires_grad and not projector.norm.bias.requires_grad
    torch.testing.assert_close(projector.norm.weight, torch.ones(8))
    torch.testing.assert_close(out.mean(0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(0, correction=0), torch.ones(8), atol=1e-2, rtol=0)
    assert projector.mlp[2].negative_slope == 0.2


def test_classifier_is_drawn_narrowly_and_has_no_bias():
    with seeded("classifier"):
        classifier = Classifier(200, 500)
    assert classifier.weight.shape == (500, 200) and classifier.bias is None
    assert classifier.weight.std().item() == pytest.approx(1e-3, rel=0.02)


def test_second_head_is_norm_rectifier_linear_norm():
    """BoT sheet, 4.1, written out; in training, because a fresh norm does nothing in eval."""
    with seeded("matrix"):
        head = Matrix(12, 5)
    assert {name: tuple(p.shape) for name, p in head.named_parameters()} == {
        "mlp.0.weight": (12,), "mlp.0.bias": (12,), "mlp.2.weight": (5, 12), "mlp.2.bias": (5,),
        "norm.weight": (5,), "norm.bias": (5,),
    }  # fmt: skip
    assert [name for name, p in head.named_parameters() if not p.requires_grad] == ["norm.bias"]
    assert (head.norm.bias == 0).all()
    x = torch.randn(9, 12, generator=torch.Generator().manual_seed(1))
    before = x.clone()

    def normed(y):
        return (y - y.mean(0)) / (y.var(0, correction=0) + 1e-5).sqrt()

    y = normed(x)
    y = torch.where(y > 0, y, 0.2 * y) @ head.mlp[2].weight.T + head.mlp[2].bias
    torch.testing.assert_close(head(x), normed(y), atol=1e-5, rtol=1e-4)
    assert torch.equal(x, before)  # the embedding's own classifier sees it, too


def test_a_model_of_the_descriptor_track_loads_from_its_file(tmp_path):
    projector, x = {"hidden": 16, "embedding": 12}, torch.rand(2, 3, 64, 64)
    model = CopyModel(create_backbone("resnet10_tiny"), projector, matrix=5).eval()
    header = {"kind": "model", "network": "resnet10_tiny", "projector": projector, "matrix": 5}
    save_weights(tmp_path / "m.safetensors", model, header)
    loaded = load_copy_model(tmp_path / "m.safetensors")
    short = loaded.descriptor(x, "matrix")
    assert short.shape == (2, 5) and short.dtype == torch.float32
    assert [loaded.dimensions(kind) for kind in ("feature", "embedding", "matrix")] == [64, 12, 5]
    assert torch.equal(short, model.descriptor(x, "matrix"))
    with torch.inference_mode():
        assert torch.equal(short, model.matrix(model.descriptor(x, "embedding")))


def test_model_gives_feature_and_embedding():
    model = CopyModel(create_backbone("resnet10_tiny_ibn_a"), {"hidden": 32, "embedding": 24})
    feature, embedding = model(torch.rand(4, 3, 64, 64))
    assert feature.shape == (4, 64) and embedding.shape == (4, 24)
    assert CopyModel(create_backbone("resnet10_tiny"))(torch.rand(2, 3, 64, 64))[1] is None


def test_descriptor_takes_the_published_exponent_unless_told_otherwise():
    model = CopyModel(create_backbone("resnet10_tiny"), {"hidden": 32, "embedding": 24}).eval()
    model.pool.p.data.fill_(4.5)
    x = torch.rand(2, 3, 64, 64)
    features = model.backbone.features(x).detach()
    torch.testing.assert_close(model.descriptor(x), features.pow(3).mean((2, 3)).pow(1 / 3))
    torch.testing.assert_close(model.descriptor(x, gem="learned"), features.pow(4.5).mean((2, 3)).pow(1 / 4.5))
    with torch.inference_mode():
        embedding = model.projector(model.descriptor(x, gem="learned"))
    torch.testing.assert_close(model.descriptor(x, "embedding", "learned"), embedding)


def test_descriptor_refuses_what_it_cannot_give():
    model = CopyModel(create_backbone("resnet10_tiny"))
    with pytest.raises(RuntimeError, match="eval"):
        model.descriptor(torch.rand(2, 3, 64, 64))
    with pytest.raises(InputError, match="no embedding"):
        model.eval().descriptor(torch.rand(2, 3, 64, 64), "embedding")
    with pytest.raises(InputError, match="no second head"):
        CopyModel(create_backbone("resnet10_tiny"), {"hidden": 8, "embedding": 6}).eval().descriptor(
            torch.rand(2, 3, 64, 64), "matrix"
        )
    with pytest.raises(InputError, match="feature, embedding, matrix"):
        model.descriptor(torch.rand(2, 3, 64, 64), "both")  # type: ignore[arg-type]


def test_models_and_bare_backbones_load_from_their_files(tmp_path):
    x = torch.rand(2, 3, 64, 64)
    projector = {"hidden": 16, "embedding": 12}
    model = CopyModel(create_backbone("resnet12_tiny", waveblock=True), projector).eval()
    header = {"kind": "model", "network": "resnet12_tiny", "projector": projector}
    save_weights(tmp_path / "m.safetensors", model, header)
    loaded = load_copy_model(tmp_path / "m.safetensors")
    assert not loaded.training
    assert torch.equal(loaded.descriptor(x, "embedding"), model.descriptor(x, "embedding"))

    save_weights(tmp_path / "b.safetensors", model.backbone, {"kind": "backbone", "network": "resnet12_tiny"})
    bare = load_copy_model(tmp_path / "b.safetensors")
    assert bare.projector is None
    assert torch.equal(bare.descriptor(x), model.descriptor(x))

    save_weights(tmp_path / "w.safetensors", {"a": torch.ones(1)}, {"kind": "whitening"})
    with pytest.raises(InputError, match="neither a model nor a backbone"):
        load_copy_model(tmp_path / "w.safetensors")


# MobileNetV2 with its published weights


@pytest.mark.skipif(
    not {"COPYTRACE_WEIGHTS", "COPYTRACE_PHOTOS"} <= set(os.environ),
    reason="COPYTRACE_WEIGHTS (MobileNetV2, .npz) and COPYTRACE_PHOTOS (folder) are not both set",
)
def test_mobilenet_v2_tells_photographs_apart():
    """1-NN on Caltech-101: 0.73 is on record for 20 classes × 12 photographs, 0.28 for random networks."""
    folder = Path(os.environ["COPYTRACE_PHOTOS"])
    table = pd.read_csv(folder / "metadata.csv")
    caltech = table[table.source == "caltech101"]
    common = caltech.label.value_counts()
    classes = sorted(common[common >= 12].index)[::2][:12]
    rows = caltech[caltech.label.isin(classes)].groupby("label").head(8)
    pictures = [
        np.asarray(Image.open(folder / s / f"{i}.jpg").convert("RGB").resize((192, 192)))
        for s, i in zip(rows.split, rows.image_id)
    ]
    x = to_network_input(torch.from_numpy(np.stack(pictures)), torch.device("cpu"))
    labels = rows.label.to_numpy()

    def accuracy(source):
        backbone = create_backbone("mobilenet_v2")
        load_backbone_weights(backbone, source)
        model = CopyModel(backbone).eval()
        d = torch.nn.functional.normalize(torch.cat([model.descriptor(part) for part in x.split(16)]))
        nearest = (d @ d.T).fill_diagonal_(-1).argmax(1).numpy()
        return (labels == labels[nearest]).mean()

    published = {
        "source": "file", "mapping": "mobilenet_v2_onnx", "path": os.environ["COPYTRACE_WEIGHTS"]
    }  # fmt: skip
    trained = accuracy(published)
    drawn = accuracy({"source": "none", "seed": [0, "mobilenet_v2"]})
    assert trained > 0.6
    assert trained > drawn + 0.2
