"""Barlow Twins: batches depend on their step alone, and a run that was stopped goes on as if nothing had happened."""

import numpy as np
import pytest
import torch
from PIL import Image

from copytrace import fitting
from copytrace.networks.registry import create_backbone
from copytrace.networks.weights import seeded
from copytrace.pretraining import BarlowTwins, BarlowTwinsSettings, TwoViews
from copytrace.runtime import Execution

CROP = {"resized_crop": {"probability": 1.0, "area": [0.5, 1.0], "aspect": [0.75, 1.3333]}}
SETTINGS = BarlowTwinsSettings(
    steps=5,
    side=32,
    reference_side=224,
    batch=4,
    projector=[8, 8],
    off_diagonal_weight=0.02,
    learning_rate=1e-3,
    weight_decay=1e-4,
    warmup=0.2,
    views=[CROP, {**CROP, "solarise": {"probability": 1.0}}],
    precision="fp32",
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
    batches = TwoViews(paths, SETTINGS, (0, "slot"))
    seen = []
    for step in (0, 1):
        first, second = batches[step]
        assert first.shape == second.shape == (4, 32, 32, 3)
        assert pictures_of(first) == pictures_of(second)
        seen += pictures_of(first)
    assert len(set(seen)) == 8  # two batches of four of nine pictures
    assert seen != pictures_of(batches[2][0]) + pictures_of(batches[3][0])  # the next pass has another order


def test_a_batch_depends_on_its_step_alone(paths):
    once = TwoViews(paths, SETTINGS, (0, "slot"))[3]
    assert all(torch.equal(a, b) for a, b in zip(once, TwoViews(paths, SETTINGS, (0, "slot"))[3]))


def train(paths, checkpoints):
    torch.set_num_threads(1)
    with seeded("test"):
        run = BarlowTwins(create_backbone("resnet10_tiny"), SETTINGS)
    fitting.fit(
        run,
        TwoViews(paths, SETTINGS, (0, "slot")),
        steps=SETTINGS.steps,
        checkpoints=checkpoints,
        precision="fp32",
        pictures=SETTINGS.batch,
        threads=1,
        execution=Execution(workers=0, checkpoint_every=2, keep_checkpoints=1),
    )
    return run


def test_a_resumed_pretraining_equals_an_undisturbed_one(paths, tmp_path, monkeypatch):
    whole = train(paths, tmp_path / "whole")
    original = TwoViews.__getitem__

    def dying(self, step):
        if step == 3:
            raise KeyboardInterrupt
        return original(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(TwoViews, "__getitem__", dying)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(paths, tmp_path / "resumed")
    assert [p.name for p in (tmp_path / "resumed").glob("*.ckpt")] == ["step-2.ckpt"]
    resumed = train(paths, tmp_path / "resumed")
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values()):
        assert torch.equal(a, b), name
    assert [row["step"] for row in resumed.curve] == list(range(5))
    assert np.isfinite([row["loss"] for row in resumed.curve]).all()
