"""Pretraining: what a step does, batches that depend on their step alone, and runs that were stopped and go on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from copytrace import fitting, losses
from copytrace.networks.registry import create_backbone
from copytrace.networks.weights import seeded
from copytrace.preprocessing import to_network_input
from copytrace.pretraining import METHODS, BarlowTwinsSettings, MomentumTeacherSettings, TwoViews
from copytrace.runtime import Execution

CROP = {"resized_crop": {"probability": 1.0, "area": [0.5, 1.0], "aspect": [0.75, 1.3333]}}
COMMON = {
    "steps": 5,
    "side": 32,
    "reference_side": 224,
    "batch": 4,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "warmup": 0.2,
    "views": [CROP, {**CROP, "solarise": {"probability": 1.0}}],
    "precision": "fp32",
}
BARLOW_TWINS = BarlowTwinsSettings(
    **COMMON,
    projector=[8, 8],
    off_diagonal_weight=0.02,
    optimiser="adamw",
    base_learning_rate=0.064,
    base_learning_rate_1d=0.064,
    final_learning_rate=0.0,
)
TEACHER = MomentumTeacherSettings(
    **COMMON,
    hidden=16,
    output=8,
    base_learning_rate=6.4,
    teacher_momentum=0.9,
    batch_share=1.0,
    faithful={"double_bessel": False},
)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Nine flat pictures whose grey level, 10 to 90, says which they are."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(9):
        level = 10 * (number + 1)
        Image.new("RGB", (50, 40), (level, level, level)).save(folder / f"{number}.png")
    return [str(folder / f"{number}.png") for number in range(9)]


def pictures_of(view):
    return sorted((view[:, 16, 16, 0].to(torch.int64) // 10 - 1).tolist())


def test_a_pass_shows_every_picture_at_most_once_in_both_views(paths):
    batches = TwoViews(paths, BARLOW_TWINS, (0, "slot"))
    seen = []
    for step in (0, 1):
        first, second = batches[step]
        assert first.shape == second.shape == (4, 32, 32, 3)
        assert pictures_of(first) == pictures_of(second)
        seen += pictures_of(first)
    assert len(set(seen)) == 8  # two batches of four of nine pictures
    assert seen != pictures_of(batches[2][0]) + pictures_of(batches[3][0])  # the next pass has another order


def test_a_batch_depends_on_its_step_alone(paths):
    once = TwoViews(paths, BARLOW_TWINS, (0, "slot"))[3]
    assert all(torch.equal(a, b) for a, b in zip(once, TwoViews(paths, BARLOW_TWINS, (0, "slot"))[3]))


def create(method, settings, network="resnet10_tiny_ibn_a"):
    with seeded("test"):
        return METHODS[method][0](create_backbone(network), settings)


def train(method, batches, checkpoints, settings):
    torch.set_num_threads(1)
    run = create(method, settings)
    fitting.fit(
        run,
        batches,
        steps=settings.steps,
        checkpoints=checkpoints,
        precision=settings.precision,
        pictures=settings.batch,
        threads=1,
        execution=Execution(workers=0, checkpoint_every=2, keep_checkpoints=1),
    )
    return run


RUNS = {
    "barlow_twins": ("barlow_twins", BARLOW_TWINS),
    "lars": ("barlow_twins", replace(BARLOW_TWINS, optimiser="lars", base_learning_rate=12.8)),
    "momentum_teacher": ("momentum_teacher", TEACHER),
    "momentum_teacher_bf16": (
        "momentum_teacher",
        replace(TEACHER, precision="bf16", faithful={"double_bessel": True}),
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_resumed_pretraining_equals_an_undisturbed_one(name, paths, tmp_path, monkeypatch):
    """Weights of student and teacher, running statistics, schedules and optimiser: P1 of the sheet."""
    method, settings = RUNS[name]
    batches = TwoViews(paths, settings, (0, "slot"))
    whole = train(method, batches, tmp_path / "whole", settings)
    original = TwoViews.__getitem__

    def dying(self, step):
        if step == 3:
            raise KeyboardInterrupt
        return original(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(TwoViews, "__getitem__", dying)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(method, batches, tmp_path / "resumed", settings)
    assert [p.name for p in (tmp_path / "resumed").glob("*.ckpt")] == ["step-2.ckpt"]
    resumed = train(method, batches, tmp_path / "resumed", settings)
    assert whole.state_dict().keys() == resumed.state_dict().keys()
    for (key, a), b in zip(whole.state_dict().items(), resumed.state_dict().values()):
        assert torch.equal(a, b), key
    assert [row["step"] for row in resumed.curve] == list(range(5))
    assert np.isfinite([row["loss"] for row in resumed.curve]).all()
    start, end = create(method, settings).trained(), whole.trained()
    assert not torch.equal(start.network.layer4[0].conv1.weight, end.network.layer4[0].conv1.weight)


# ------------------------------------------------------------------------------------------- Momentum² teacher


class Noise(Dataset):
    """Two views of four pictures, all of other brightness and contrast: nothing that rounding could tip over."""

    def __getitem__(self, step):
        draw = np.random.default_rng(step)
        level, contrast = draw.uniform(60, 190, (2, 4, 1, 1, 3)), draw.uniform(10, 60, (2, 4, 1, 1, 3))
        views = (level + contrast * draw.normal(size=(2, 4, 32, 32, 3))).clip(0, 255).astype(np.uint8)
        return torch.from_numpy(views[0]), torch.from_numpy(views[1])


def test_the_teacher_follows_before_and_remembers_after_both_views(tmp_path):
    """Its first three steps by hand: plain SGD, and a teacher of plain modules."""
    settings = replace(TEACHER, steps=3, warmup=0.0, base_learning_rate=0.64)
    run = train("momentum_teacher", Noise(), tmp_path, settings)

    by_hand = create("momentum_teacher", settings)  # only for its student and predictor
    student, predictor, norms = by_hand.student.train(), by_hand.predictor.train(), {}
    parameters = [*student.parameters(), *predictor.parameters()]
    teacher = create("momentum_teacher", settings).student
    for name, module in teacher.named_modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            norms[name] = module
    average = {name: (torch.zeros_like(n.running_mean), torch.ones_like(n.running_var)) for name, n in norms.items()}
    velocity = [torch.zeros_like(p) for p in parameters]
    recorded = []
    for step in range(3):
        cosine = (1 + np.cos(np.pi * step / 3)) / 2
        x1, x2 = (to_network_input(view, torch.device("cpu")) for view in Noise()[step])
        with torch.no_grad():
            momentum = 1 - 0.1 * cosine
            for theirs, ours in zip(teacher.parameters(), student.parameters()):
                theirs.copy_(momentum * theirs + (1 - momentum) * ours)
            (k1, seen1), (k2, seen2) = (taught(teacher, norms, average, cosine, x) for x in (x1, x2))
            average = {
                name: tuple(
                    cosine * (seen1[name][i] + seen2[name][i]) / 2 + (1 - cosine) * average[name][i] for i in (0, 1)
                )
                for name in norms
            }
        q1, q2 = predictor(student(x1)), predictor(student(x2))
        loss = losses.momentum_teacher_loss(q1, q2, k1, k2)
        recorded.append(loss.item())
        gradients = torch.autograd.grad(loss, parameters)
        rate = 0.01 * cosine  # 0.64 · 4 / 256
        with torch.no_grad():
            for p, v, g in zip(parameters, velocity, gradients):
                v.mul_(0.9).add_(g + 1e-4 * p)
                p.sub_(rate * v)

    assert [row["loss"] for row in run.curve] == pytest.approx(recorded, rel=1e-5)
    for ours, theirs in ((run.student, student), (run.predictor, predictor)):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    for a, b in zip(run.teacher.parameters(), teacher.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    state = run.trained().state_dict()
    for name in norms:
        if name.startswith("backbone."):
            key = name.removeprefix("backbone.")
            torch.testing.assert_close(state[f"{key}.running_mean"], average[name][0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(state[f"{key}.running_var"], average[name][1], rtol=1e-4, atol=1e-5)


def taught(teacher, norms, average, share, x):
    """The output of a network whose batch norms use share · batch + (1 − share) · average, and the batch's own."""
    seen, hooks = {}, []
    for name, norm in norms.items():

        def normalise(module, inputs, _, name=name):
            (values,) = inputs
            dims = [0, *range(2, values.ndim)]
            seen[name] = values.mean(dims), values.var(dims, correction=0)
            mean, variance = (share * new + (1 - share) * old for new, old in zip(seen[name], average[name]))
            return functional.batch_norm(values, mean, variance, module.weight, module.bias, eps=1e-5)

        hooks.append(norm.register_forward_hook(normalise))
    out = teacher(x)
    for hook in hooks:
        hook.remove()
    return out, seen


def test_the_teacher_is_what_is_kept(tmp_path):
    run = train("momentum_teacher", Noise(), tmp_path, TEACHER)
    student = run.student.backbone.state_dict()
    weights = [value.clone() for value in run.teacher.backbone.state_dict().values()]
    kept = run.trained()
    fresh = create_backbone("resnet10_tiny_ibn_a")
    fresh.load_state_dict(kept.state_dict())  # plain names, backbone only
    assert all(torch.equal(a, b) for a, b in zip(kept.state_dict().values(), weights, strict=True))
    key = "network.layer2.0.conv1.weight"
    assert not torch.equal(kept.state_dict()[key], student[key])
    assert (kept.state_dict()["network.layer1.0.bn1.BN.running_var"] != 1).all()


def test_the_heads_have_the_published_form():
    """D²LV sheet, 3.2: 2048 → 4096 (BN, ReLU) → 256 (projector) → 4096 (BN, ReLU) → 256, linear layers with biases."""
    run = create("momentum_teacher", replace(TEACHER, hidden=4096, output=256), "resnet50_ibn_a")
    student = [*run.student.projector, *run.predictor]
    assert [type(layer) for layer in student] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear] * 2
    widths = [(layer.in_features, layer.out_features) for layer in student if isinstance(layer, nn.Linear)]
    assert widths == [(2048, 4096), (4096, 256), (256, 4096), (4096, 256)]
    assert all(layer.bias is not None for layer in student if isinstance(layer, nn.Linear))
    assert not [name for name, p in run.teacher.named_parameters() if p.requires_grad]
    decayed = run.configure_optimizers()["optimizer"].param_groups
    assert [group["weight_decay"] for group in decayed] == [1e-4]  # on all student parameters
    assert len(decayed[0]["params"]) == len([*run.student.parameters(), *run.predictor.parameters()])


@pytest.mark.parametrize(("batch", "peak"), [(512, 0.1), (1024, 0.2)])
def test_the_published_learning_rates_of_the_teacher(batch, peak):
    """D²LV sheet, 3.2: from 1e-6 to 0.05 · batch / 256 in ten of 300 passes."""
    passes = 1281167 // batch  # of ImageNet, drop last
    settings = replace(TEACHER, batch=batch, base_learning_rate=0.05, steps=300 * passes, warmup=1 / 30)
    assert passes == {512: 2502, 1024: 1251}[batch]
    assert settings.warmup_steps == 10 * passes
    scheduled = create("momentum_teacher", settings).configure_optimizers()
    factor = scheduled["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert scheduled["optimizer"].param_groups[0]["initial_lr"] == peak
    rates = [peak * factor(step) for step in (0, 10 * passes, 155 * passes, 300 * passes)]
    assert rates == pytest.approx([1e-6, peak, peak / 2, 0])


# ------------------------------------------------------------------------------------------- LARS


def test_the_published_lars_of_barlow_twins():
    """D²LV sheet, 3.1: peaks 1.6 for weights and 0.0384 for one-dimensional parameters at batch 2048."""
    settings = replace(
        BARLOW_TWINS, optimiser="lars", batch=2048, steps=1000 * 625, warmup=0.01, weight_decay=1e-6,
        base_learning_rate=0.2, base_learning_rate_1d=0.0048, final_learning_rate=0.001,
    )  # fmt: skip
    run = create("barlow_twins", settings)
    scheduled = run.configure_optimizers()
    weights, vectors = scheduled["optimizer"].param_groups
    assert (weights["initial_lr"], vectors["initial_lr"]) == pytest.approx((1.6, 0.0384))
    assert (weights["weight_decay"], vectors["weight_decay"]) == (1e-6, 0)
    assert {p.ndim for p in vectors["params"]} == {1}
    assert len(weights["params"]) + len(vectors["params"]) == len(list(run.parameters()))
    factor = scheduled["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert [factor(10 * 625), factor(1000 * 625)] == pytest.approx([1, 0.001])


def test_lars_steps_by_hand():
    """You et al. 2017: the rate of a weight is η‖w‖ / (‖g‖ + β‖w‖); vectors have none of it and no decay."""
    settings = replace(
        BARLOW_TWINS, optimiser="lars", weight_decay=0.1, base_learning_rate=64.0, base_learning_rate_1d=6.4,
        warmup=0.0, steps=10**6,
    )  # fmt: skip
    run = create("barlow_twins", settings)
    optimiser = run.configure_optimizers()["optimizer"]
    draw = np.random.default_rng(0)
    parameters = list(run.parameters())
    expected = [p.detach().double().numpy().copy() for p in parameters]
    velocity = [np.zeros_like(w) for w in expected]
    for _ in range(3):
        for p, w, v in zip(parameters, expected, velocity):
            g = draw.normal(size=w.shape)
            p.grad = torch.from_numpy(g).float()
            if w.ndim > 1:
                trust = 0.001 * np.linalg.norm(w) / (np.linalg.norm(g) + 0.1 * np.linalg.norm(w))
                g = trust * (g + 0.1 * w)
            v[...] = 0.9 * v + g
            w -= (1.0 if w.ndim > 1 else 0.1) * v  # 64 and 6.4, times 4 / 256
        optimiser.step()
    for p, w in zip(parameters, expected):
        np.testing.assert_allclose(p.detach(), w, rtol=1e-4, atol=1e-5)
