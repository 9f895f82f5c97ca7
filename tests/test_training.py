"""Batches, the loss, and resuming: a training that was stopped goes on as if nothing had happened."""

import dataclasses
import io
import os
import resource
import signal

import numpy as np
import pandas as pd
import pytest
import together
import torch
from PIL import Image

from copytrace import fitting
from copytrace.errors import NoRoom
from copytrace.networks.model import CopyModel
from copytrace.networks.registry import create_backbone
from copytrace.networks.weights import seeded
from copytrace.preprocessing import to_network_input
from copytrace.runtime import Execution
from copytrace.synthesis.tarset import TrainingSet, write_shard
from copytrace.training import (
    ClassBalancedBatches,
    CopyTraining,
    MatrixSettings,
    TrackTraining,
    draw_copies,
    stripped,
)

SETTINGS = dataclasses.replace(together.SETTINGS, steps=8, epochs=4, head_learning_rate=1e-3, matrix=None)
EXECUTION = Execution(workers=0, checkpoint_every=3, keep_checkpoints=2)


@pytest.fixture(scope="module")
def training_set(tmp_path_factory):
    """Ten classes of four flat pictures; red says the class, green the copy."""
    folder = tmp_path_factory.mktemp("set")

    def copies():
        for label in range(10):
            for copy in range(4):
                data = io.BytesIO()
                Image.new("RGB", (32, 32), (25 * label, 60 * copy, 90)).save(data, "JPEG", quality=100)
                yield label, copy, data.getvalue()

    write_shard(folder / "0.tar", "0.tar", copies()).to_parquet(folder / "0.parquet")
    return TrainingSet([folder / "0.parquet"])


def test_a_batch_has_different_classes_and_different_copies(training_set):
    batches = ClassBalancedBatches(training_set, SETTINGS, (0, "model"))
    for number in range(4):
        step, pictures, labels = batches[number]
        assert step == number
        assert pictures.shape == (12, 32, 32, 3)
        assert sorted(np.unique(labels, return_counts=True)[1]) == [3, 3, 3, 3]
        middle = pictures[:, 16, 16].to(torch.int64)
        assert (middle[:, 0] - 25 * labels).abs().max() <= 3
        for label in labels.unique():
            assert len(middle[labels == label, 1].unique()) == 3


def test_one_pass_takes_every_class_once(training_set):
    settings = dataclasses.replace(SETTINGS, classes_per_batch=5, steps=40, epochs=2)
    batches = ClassBalancedBatches(training_set, settings, (0, "model"))
    seen = torch.cat([batches[step][2].unique() for step in (0, 1)])
    assert sorted(seen.tolist()) == list(range(10))
    assert not torch.equal(batches[0][2], batches[2][2])  # the next pass has another order


def test_a_batch_depends_on_its_step_alone(training_set):
    batches = ClassBalancedBatches(training_set, SETTINGS, (0, "model"))
    first = [batches[step] for step in range(3)]
    again = [ClassBalancedBatches(training_set, SETTINGS, (0, "model"))[step] for step in (2, 0, 1)]
    for step, batch in zip((2, 0, 1), again):
        assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(first[step], batch))
    other = ClassBalancedBatches(training_set, SETTINGS, (0, "other model"))[0]
    assert not torch.equal(first[0][1], other[1])


def test_a_shift_stays_within_the_padding(training_set):
    pictures = torch.cat([ClassBalancedBatches(training_set, SETTINGS, (0, "m"))[s][1] for s in range(6)])
    dark = pictures.sum(-1) == 0  # zeros beyond the edge
    rows = dark.all(dim=2).sum(1)
    assert rows.max() == 1  # 10 px at 256 is 1 px at 32
    assert (rows == 0).any()


def test_without_augmentation_the_copies_stay_as_they_are(training_set):
    settings = dataclasses.replace(SETTINGS, augment=False)
    _, pictures, _ = ClassBalancedBatches(training_set, settings, (0, "m"))[0]
    assert (pictures == pictures[:, :1, :1]).all()  # the flat pictures without an edge of zeros


@pytest.mark.parametrize("count", [2, 3, 4])
def test_of_a_pair_one_picture_comes_once_and_the_other_again_and_again(count):
    rng = np.random.default_rng(0)
    drawn = [draw_copies(np.array([7, 8]), count, rng).tolist() for _ in range(200)]
    assert {tuple(row) for row in drawn} == {(7, *[8] * (count - 1)), (8, *[7] * (count - 1))}
    assert 70 < sum(row[0] == 7 for row in drawn) < 130


def test_of_a_class_with_too_few_copies_one_comes_once_and_any_other_may_come_again():
    rng = np.random.default_rng(0)
    drawn = [draw_copies(np.array([5, 6, 7]), 4, rng) for _ in range(300)]
    assert all((row[1:] != row[0]).all() for row in drawn)
    assert len({tuple(row) for row in drawn}) == 3 * 2**3
    enough = [draw_copies(np.array([5, 6, 7, 8]), 4, rng) for _ in range(50)]
    assert all(sorted(row) == [5, 6, 7, 8] for row in enough)


def module(training_set):
    with seeded("test"):
        model = CopyModel(create_backbone("resnet10_tiny", waveblock=True), {"hidden": 16, "embedding": 12})
    return CopyTraining(model, len(training_set.classes), SETTINGS, (0, "model"))


MATRIX = MatrixSettings(
    dimensions=5, cross_entropy_weight=1, distillation_weight=2, temperature=2, detach_teacher=False
)


def track_module(training_set, **changes):
    settings = dataclasses.replace(SETTINGS, matrix=dataclasses.replace(MATRIX, **changes))
    with seeded("test"):
        backbone = create_backbone("resnet10_tiny", waveblock=True)
        model = CopyModel(backbone, {"hidden": 16, "embedding": 12}, matrix=5)
    return TrackTraining(model, len(training_set.classes), settings, (0, "model"))


def test_the_second_head_adds_its_losses(training_set):
    """L = 10·CE_A + 1·CE_B + 2·KD + 1·triplet (BoT sheet, 4.2); the first head's are those of any training."""
    _, pictures, labels = batch = ClassBalancedBatches(training_set, SETTINGS, (0, "model"))[0]
    run, plain = track_module(training_set), module(training_set)
    loss, of_plain = run.training_step(batch, 0), plain.training_step(batch, 0)
    row = run.curve[0]
    with torch.no_grad():
        embedding = run.model(to_network_input(pictures, run.device))[1]
        logits, own = run.classifier(embedding), run.matrix_classifier(run.model.matrix(embedding))
    wanted = (torch.nn.functional.one_hot(labels, 10) * 0.9 + 0.01) * -own.log_softmax(1)
    assert row["matrix_cross_entropy"] == pytest.approx(wanted.sum(1).mean().item(), rel=1e-4)
    taught = (logits / 2).softmax(1) * -(own / 2).log_softmax(1)
    assert row["distillation"] == pytest.approx(taught.sum(1).mean().item(), rel=1e-4)
    second = row["matrix_cross_entropy"] + 2 * row["distillation"]
    assert loss.item() == pytest.approx(10 * row["cross_entropy"] + row["triplet"] + second, rel=1e-5)
    assert of_plain.item() == pytest.approx(loss.item() - second, rel=1e-4)


@pytest.mark.parametrize("detached", [False, True])
def test_a_teacher_that_is_not_detached_learns_from_the_second_head(training_set, detached):
    batch = ClassBalancedBatches(training_set, SETTINGS, (0, "model"))[0]
    run = track_module(training_set, detach_teacher=detached)
    run.settings = dataclasses.replace(run.settings, cross_entropy_weight=0, triplet_weight=0)
    run.training_step(batch, 0).backward()
    taught = run.classifier.weight.grad
    assert (taught is None or not taught.abs().sum()) == detached
    for part in (run.model.matrix, run.model.projector, run.model.backbone):  # joint training, not a frozen teacher
        assert max(p.grad.abs().max() for p in part.parameters() if p.grad is not None) > 1e-4


def test_both_classifiers_stay_behind(training_set):
    run = track_module(training_set)
    assert {name.split(".")[0] for name in stripped(run.model)} == {"backbone", "pool", "projector", "matrix"}
    assert {name.split(".")[0] for name in run.state_dict()} == {"model", "classifier", "matrix_classifier"}
    trained = {id(p) for group in run.configure_optimizers()["optimizer"].param_groups for p in group["params"]}
    assert trained == {id(p) for p in run.parameters() if p.requires_grad}


def train(training_set, checkpoints, steps=SETTINGS.steps):
    torch.set_num_threads(1)
    run = module(training_set)
    fitting.fit(
        run,
        ClassBalancedBatches(training_set, SETTINGS, (0, "model")),
        steps=steps,
        checkpoints=checkpoints,
        precision="fp32",
        pictures=SETTINGS.classes_per_batch * SETTINGS.copies_per_class,
        threads=1,
        execution=EXECUTION,
    )
    return run


class Killed(Exception):
    pass


def stop_after(monkeypatch, training_set, checkpoints, steps):
    """A run that dies in the step after `steps`."""
    original = CopyTraining.training_step

    def dying(self, batch, index):
        if batch[0] == steps:
            raise Killed
        return original(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(CopyTraining, "training_step", dying)
        with pytest.raises(Killed):
            train(training_set, checkpoints)


@pytest.mark.parametrize("killed_at", [4, 7])
def test_a_resumed_training_equals_an_undisturbed_one(training_set, tmp_path, monkeypatch, killed_at, caplog):
    whole = train(training_set, tmp_path / "whole")
    stop_after(monkeypatch, training_set, tmp_path / "resumed", killed_at)
    resumed_from = killed_at - killed_at % EXECUTION.checkpoint_every
    with caplog.at_level("INFO"):
        resumed = train(training_set, tmp_path / "resumed")
    assert f"going on from step {resumed_from} of 8" in caplog.text
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values()):
        assert torch.equal(a, b), name
    pd.testing.assert_frame_equal(pd.DataFrame(whole.curve), pd.DataFrame(resumed.curve))
    assert [row["step"] for row in resumed.curve] == list(range(8))


def test_a_torn_checkpoint_is_passed_over(training_set, tmp_path, monkeypatch, caplog):
    whole = train(training_set, tmp_path / "whole")
    stop_after(monkeypatch, training_set, tmp_path / "torn", 7)
    newest = tmp_path / "torn" / "step-6.ckpt"
    newest.write_bytes(newest.read_bytes()[:1000])
    with caplog.at_level("INFO"):
        resumed = train(training_set, tmp_path / "torn")
    assert "step-6.ckpt can't be read" in caplog.text
    assert "going on from step 3 of 8" in caplog.text
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values()):
        assert torch.equal(a, b)


def test_a_training_that_is_ended_does_not_look_finished(training_set, tmp_path, monkeypatch, caplog):
    original = CopyTraining.training_step

    def ended(self, batch, index):
        if batch[0] == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, index)

    monkeypatch.setattr(CopyTraining, "training_step", ended)
    with caplog.at_level("INFO"), pytest.raises(SystemExit) as end:
        train(training_set, tmp_path / "ended")
    assert end.value.code == 128 + signal.SIGTERM
    assert "ended by SIGTERM after step 5 of 8" in caplog.text
    assert [p.name for p in (tmp_path / "ended").iterdir()] == ["step-3.ckpt"]


def test_a_checkpoint_without_room_ends_the_training_and_leaves_nothing(training_set, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # in place of a full disk
    try:
        with pytest.raises(NoRoom, match=r"step-3\.ckpt can't be written \(File too large\)"):
            train(training_set, tmp_path / "c")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "c").iterdir()) == []


def test_the_last_checkpoints_are_kept(training_set, tmp_path):
    train(training_set, tmp_path / "c")
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["step-3.ckpt", "step-6.ckpt"]


def test_the_classifier_starts_from_the_identity_of_the_run(training_set):
    first, second = module(training_set), module(training_set)
    assert torch.equal(first.classifier.weight, second.classifier.weight)
    assert first.classifier.weight.std().item() == pytest.approx(0.001, rel=0.3)


def test_the_learning_rate_follows_the_epochs(training_set):
    run = module(training_set)
    optimiser = run.configure_optimizers()["optimizer"]
    schedule = run.configure_optimizers()["lr_scheduler"]["scheduler"]
    factors = [schedule.lr_lambdas[0](step) for step in range(8)]
    np.testing.assert_allclose(factors, [0.01, 0.01, 1, 1, 1, 1, 0.5, 0.5])
    grouped = sum(p.numel() for group in optimiser.param_groups for p in group["params"])
    assert grouped == sum(p.numel() for p in run.parameters() if p.requires_grad)
