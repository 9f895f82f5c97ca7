"""Training on several devices against one: two and four processes over gloo, on the CPU (D²LV sheet, T6 and T7)."""

import dataclasses
import json
import os
import re
import subprocess
import sys

import pandas as pd
import psutil
import pytest
import together
import torch
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from running import DEADLINE, REPOSITORY
from torch import nn

from copytrace import distributed, fitting
from copytrace.errors import InputError
from copytrace.networks.heads import Classifier
from copytrace.networks.registry import create_backbone
from copytrace.networks.weights import read_weights, save_weights, seeded
from copytrace.preprocessing import to_network_input
from copytrace.runtime import Execution
from copytrace.synthesis.tarset import TrainingSet
from copytrace.training import ClassBalancedBatches

SCRIPT = REPOSITORY / "workflow_scripts" / "train_model.py"
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{SCRIPT.parent}:{REPOSITORY / 'tests'}", "OMP_NUM_THREADS": "1"}

# Biases in front of a batch norm; what gradient they get is rounding.
WITHOUT_GRADIENT = ["model.projector.mlp.0.bias", "model.projector.mlp.3.bias", "model.matrix.mlp.2.bias"]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The folder with what the trainings of `together.py` left."""
    folder = tmp_path_factory.mktemp("together")
    command = [sys.executable, "-W", "ignore", together.__file__, str(folder)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr[-6000:]
    return folder


def read(folder, name):
    return torch.load(folder / f"{name}.pt", weights_only=True)


def assert_same_training(one, other):
    """The same figures at every step and the same model, but for rounding."""
    pd.testing.assert_frame_equal(pd.DataFrame(other["curve"]), pd.DataFrame(one["curve"]), rtol=1e-9)
    assert len(one["curve"]) == together.STEPS
    assert one["state"].keys() == other["state"].keys()
    for name, value in one["state"].items():
        torch.testing.assert_close(other["state"][name], value, rtol=0, atol=1e-9, msg=name)


@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_have_the_losses_and_the_model_of_one(results, processes):
    one = read(results, "1")
    assert_same_training(one, read(results, f"{processes}"))
    losses = pd.DataFrame(one["curve"])
    assert set(losses) == {"step", "cross_entropy", "triplet", "accuracy", "matrix_cross_entropy", "distillation"}
    assert losses.cross_entropy.iloc[-1] < losses.cross_entropy.iloc[0] - 0.1  # it does learn


@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_have_the_gradients_of_one(results, processes):
    """Of the backbone, both heads and both classifiers, whose rows no number of processes divides."""
    one, several = read(results, "1")["gradients"], read(results, f"{processes}")["gradients"]
    assert one.keys() == several.keys()
    assert one["classifier.weight"].shape == (together.CLASSES, together.SETTINGS.embedding)
    for name, gradient in one.items():
        difference, size = (several[name] - gradient).norm().item(), gradient.norm().item()
        if name in WITHOUT_GRADIENT:
            assert size < 1e-14
        else:
            assert size > 1e-4 and difference < 1e-12 * size, name


@pytest.mark.parametrize(("before", "after"), [(4, 1), (1, 2)])
def test_a_training_goes_on_with_another_number_of_processes(results, before, after):
    assert_same_training(read(results, "1"), read(results, f"{before}-then-{after}"))


def test_a_checkpoint_of_several_processes_is_that_of_one(results):
    one, four = (torch.load(results / str(n) / "step-10.ckpt", weights_only=True) for n in (1, 4))
    assert one.keys() == four.keys()
    for part in ("state_dict", "optimizer_states"):
        (names, values), (others, of_four) = (flat(checkpoint[part]) for checkpoint in (one, four))
        assert names == others
        assert [v.shape for v in values] == [v.shape for v in of_four]
    moments = [checkpoint["optimizer_states"][0]["state"] for checkpoint in (one, four)]
    numbers = [n for n, state in moments[0].items() if len(state["exp_avg"].shape) and len(state["exp_avg"]) == 11]
    assert len(numbers) == 2
    for number in numbers:
        for moment in ("exp_avg", "exp_avg_sq"):
            wanted = moments[0][number][moment]
            torch.testing.assert_close(moments[1][number][moment], wanted, rtol=1e-9, atol=1e-12)


def flat(nested, name=""):
    """Names and tensors of a checkpoint's part."""
    pairs = nested.items() if isinstance(nested, dict) else enumerate(nested) if isinstance(nested, list) else ()
    found = [flat(value, f"{name}/{key}") for key, value in pairs]
    if isinstance(nested, torch.Tensor):
        return [name], [nested]
    return [n for names, _ in found for n in names], [v for _, values in found for v in values]


def test_without_synchronised_batch_norm_the_running_statistics_are_the_first_devices(results):
    """T7: batch norm sees the pictures of each device, and what is kept is the first one's."""
    module, batches = together.create(results / "0.parquet")
    _, pictures, _ = batches[0]
    stem = module.model.backbone.network
    with torch.no_grad():
        mean = [stem.conv1(to_network_input(part, module.device)).mean((0, 2, 3)) for part in pictures.chunk(2)]
    kept = read(results, "per-device")["state"]["model.backbone.network.bn1.running_mean"]
    torch.testing.assert_close(kept, 0.1 * mean[0], rtol=1e-4, atol=1e-6)
    assert (kept - 0.1 * mean[1]).abs().max() > 1e-4


def be(monkeypatch, number, processes):
    """Be one of several processes, for code that exchanges nothing."""
    monkeypatch.setattr(distributed, "rank", lambda: number)
    monkeypatch.setattr(distributed, "world", lambda: processes)


@pytest.mark.parametrize("processes", [2, 4])
def test_the_processes_share_the_batch_of_one(results, monkeypatch, processes):
    training_set = TrainingSet([results / "0.parquet"])
    step, pictures, labels = ClassBalancedBatches(training_set, together.SETTINGS, together.IDENTITY)[7]
    parts = []
    for number in range(processes):
        be(monkeypatch, number, processes)
        part = ClassBalancedBatches(training_set, together.SETTINGS, together.IDENTITY)[7]
        assert part[0] == step
        assert torch.equal(part[2], labels)
        parts.append(part[1])
    assert torch.equal(torch.cat(parts), pictures)
    assert {len(part) for part in parts} == {len(pictures) // processes}


def test_the_rows_of_the_classifier_are_those_of_the_one_draw(monkeypatch):
    torch.manual_seed(0)
    whole = Classifier(5, 11).weight
    rows = []
    for number in range(4):
        be(monkeypatch, number, 4)
        torch.manual_seed(0)
        rows.append(Classifier(5, 11).weight)
    assert torch.equal(torch.cat(rows), whole)
    assert sorted(map(len, rows)) == [2, 3, 3, 3]


def test_batch_norm_is_synchronised_on_gpus_alone(results, monkeypatch):
    """What torch and Lightning do with the option; the statistics themselves need GPUs."""
    module, batches = together.create(results / "0.parquet")
    asked = {}

    class Asked(Exception):
        pass

    def trainer(**options):
        asked.update(options)
        raise Asked

    def fit(synchronised):
        settings = {"steps": 1, "checkpoints": results / "none", "precision": "fp32", "pictures": 12, "threads": 1}
        fitting.fit(module, batches, **settings, execution=Execution(0, 1, 1), synchronised_batch_norm=synchronised)

    monkeypatch.setattr(fitting.lightning, "Trainer", trainer)
    monkeypatch.setattr(distributed, "agreed", lambda value: value)
    monkeypatch.setattr(distributed, "processes_here", lambda: 4)
    be(monkeypatch, 0, 8)
    with pytest.raises(InputError, match=r"training\.synchronised_batch_norm is true, but torch has it on GPUs only"):
        fit(True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for synchronised in (True, False):
        with pytest.raises(Asked):
            fit(synchronised)
        assert asked["sync_batchnorm"] == synchronised
        assert (asked["devices"], asked["num_nodes"], asked["strategy"][:3]) == (4, 2, "ddp")

    names = list(module.state_dict())
    model = module.model
    converted = TorchSyncBatchNorm().apply(module)
    kinds = {type(m) for m in converted.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    assert kinds == {nn.SyncBatchNorm}
    assert converted.model is model and list(converted.state_dict()) == names


def test_more_devices_than_there_are_is_said(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match=re.escape("training.devices is 4, but this job sees only 2 GPU(s)")):
        distributed.join()


# The script as torch's launcher starts it, computing as in `together.py`, and with one process killed on its way.
WRAPPER = """
import os, runpy, signal, sys
import together
from copytrace import distributed, training

step_of = training.CopyTraining.training_step

def step_or_die(module, batch, number):
    if distributed.rank() == 1 and str(batch[0]) == os.environ.get("KILL_AT"):
        os.kill(os.getpid(), signal.SIGKILL)
    return step_of(module, batch, number)

training.CopyTraining.training_step = step_or_die
together.compute_in_double_precision()
together.synchronise_batch_norm()
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def arguments(inputs, folder):
    """The command line of a training in `folder`."""
    section = dataclasses.asdict(together.SETTINGS)
    del section["matrix"]
    execution = {"workers": 0, "checkpoint_every": 5, "keep_checkpoints": 2}
    flags = {"index": inputs / "0.parquet", "backbone-weights": folder / "backbone.safetensors", "model": "f.b"}
    flags |= {"training": json.dumps(section), "seed": 3, "execution": json.dumps(execution), "threads": 2}
    flags |= {"checkpoints": folder / "checkpoints", "curve": folder / "curve.csv", "output": folder / "m.safetensors"}
    return [str(SCRIPT), *(word for name, value in flags.items() for word in (f"--{name}", str(value)))]


def launched(inputs, folder, **variables):
    """A training by two processes, to its end."""
    (folder / "wrapper.py").write_text(WRAPPER)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launcher, str(folder / "wrapper.py"), *arguments(inputs, folder)]
    return subprocess.run(command, env=ENVIRONMENT | variables, capture_output=True, text=True, timeout=DEADLINE)


def test_the_script_on_two_devices_killed_and_taken_up_again_makes_the_model_of_one(results, tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        with seeded("test"):
            backbone = create_backbone("resnet10_tiny")
        save_weights(folder / "backbone.safetensors", backbone, {"kind": "backbone", "network": "resnet10_tiny"})
    one, two = folders

    # One process dies without a word: the other, which waits for it, ends as well.
    killed = launched(results, two, KILL_AT="12")
    assert killed.returncode != 0
    assert "Signal 9 (SIGKILL) received by PID" in killed.stderr
    assert "trainer.fit" not in killed.stderr  # a sentence instead of a traceback
    assert not (two / "m.safetensors").exists()
    commands = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in commands if str(two) in command]  # nothing is left running

    resumed = launched(results, two)
    assert resumed.returncode == 0, resumed.stderr[-6000:]
    assert resumed.stderr.count("going on from step 10 of 20") == 1  # one process writes the log

    alone = [sys.executable, str(two / "wrapper.py"), *arguments(results, one)]
    subprocess.run(alone, env=ENVIRONMENT, check=True, timeout=DEADLINE)

    (state, header), (of_two, header_of_two) = (read_weights(folder / "m.safetensors") for folder in folders)
    assert header == header_of_two
    assert list(state) == list(of_two)
    for name, value in state.items():
        assert of_two[name].shape == value.shape and of_two[name].dtype == value.dtype
        torch.testing.assert_close(of_two[name], value, rtol=0, atol=1e-9, msg=name)
    curves = [pd.read_csv(folder / "curve.csv") for folder in folders]
    pd.testing.assert_frame_equal(curves[1], curves[0], rtol=1e-9)
    assert list((two / "checkpoints").iterdir()) == []
