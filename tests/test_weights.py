"""Weights: round trips, named mappings of published files, and everything that is refused."""

from __future__ import annotations

import hashlib
import http.server
import logging
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from copytrace.compat import ensure_torchvision
from copytrace.errors import InputError
from copytrace.networks import weights
from copytrace.networks.registry import create_backbone
from copytrace.networks.weights import (
    load_backbone_weights,
    read_weights,
    save_weights,
    seeded,
)
from copytrace.provenance import file_digest

NAME = "resnet10_tiny"


def drawn(*identity, name=NAME):
    with seeded(*identity):
        return create_backbone(name)


def published(name=NAME):
    """A state dict as a torchvision file would have it: `conv1.weight` …"""
    return {k: v.clone() for k, v in drawn("published", name=name).network.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def source(path, mapping="torchvision", **more):
    return {"source": "file", "path": str(path), "mapping": mapping, **more}


# Own files


def test_round_trip(tmp_path):
    backbone = drawn(1)
    header = {"kind": "backbone", "network": NAME, "steps": 3, "made": {"é": [1, 2.5, None]}}
    save_weights(tmp_path / "w.safetensors", backbone, header)
    state, found = read_weights(tmp_path / "w.safetensors")
    assert found == header
    assert same(state, backbone.state_dict())
    assert state["network.bn1.num_batches_tracked"].dtype == torch.int64


def test_same_content_gives_the_same_bytes(tmp_path):
    backbone = drawn(1)
    save_weights(tmp_path / "a", backbone, {"b": 1, "a": 2})
    state = dict(reversed(backbone.to(memory_format=torch.channels_last).state_dict().items()))
    save_weights(tmp_path / "b", state, {"a": 2, "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    digest = hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()
    assert file_digest(tmp_path / "a") == digest
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a", "b"]


def test_files_that_are_not_ours_are_refused(tmp_path):
    save_file(published(), tmp_path / "foreign.safetensors")
    with pytest.raises(InputError, match=r"foreign.safetensors has no copytrace header"):
        read_weights(tmp_path / "foreign.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    for name in ("torn.safetensors", "absent.safetensors"):
        with pytest.raises(InputError, match=name):
            read_weights(tmp_path / name)


# A random draw


def test_a_draw_depends_on_its_seed_only():
    before = torch.get_rng_state()
    first, second, other = (create_backbone(NAME) for _ in range(3))
    torch.set_rng_state(before)
    header = load_backbone_weights(first, {"source": "none", "seed": [0, "backbone", "a"]})
    load_backbone_weights(second, {"source": "none", "seed": [0, "backbone", "a"]})
    load_backbone_weights(other, {"source": "none", "seed": [0, "backbone", "b"]})
    assert torch.equal(torch.get_rng_state(), before)
    assert header == {"source": "none", "seed": [0, "backbone", "a"]}
    assert same(first.state_dict(), second.state_dict())
    assert not torch.equal(first.network.conv1.weight, other.network.conv1.weight)


def test_convolutions_are_drawn_after_he():
    weight = drawn(5, name="resnet10_half").network.layer4[0].conv2.weight  # 256 × 3 × 3 outgoing
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)


# Published files


@pytest.mark.parametrize("suffix", [".pth", ".npz", ".safetensors"])
def test_torchvision_files_load_without_their_classifier(tmp_path, suffix):
    state = published()
    path = tmp_path / f"net{suffix}"
    file = {**state, "fc.weight": torch.ones(10, 64), "fc.bias": torch.ones(10)}
    match suffix:
        case ".pth":
            torch.save(file, path)
        case ".npz":
            np.savez(path, **{k: v.numpy() for k, v in file.items()})
        case _:
            save_file(file, path)
    backbone = drawn("other")
    header = load_backbone_weights(backbone, source(path))
    assert same(dict(backbone.network.state_dict()), state)
    assert header == {
        "source": "file", "mapping": "torchvision", "file": path.name, "sha256": file_digest(path)
    }  # fmt: skip


def test_a_path_given_apart_goes_before_the_configured_one(tmp_path):
    torch.save(published(), tmp_path / "net.pth")
    load_backbone_weights(drawn("other"), source(tmp_path / "net.pth"))


def test_files_older_than_the_batch_counter_load(tmp_path):
    state = {k: v for k, v in published().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    backbone = drawn("other")
    load_backbone_weights(backbone, source(tmp_path / "old.pth", "barlow_twins"))
    assert torch.equal(backbone.network.conv1.weight, state["conv1.weight"])


def test_barlow_twins_files_have_no_classifier_to_drop(tmp_path):
    torch.save({**published(), "fc.weight": torch.ones(1)}, tmp_path / "net.pth")
    with pytest.raises(InputError, match=r"fc\.weight"):
        load_backbone_weights(drawn("other"), source(tmp_path / "net.pth", "barlow_twins"))


def test_momentum_checkpoints_give_the_teacher(tmp_path):
    teacher, student = published("resnet10_tiny_ibn_a"), drawn("student", name="resnet10_tiny_ibn_a")
    model = {f"module.student_encoder.{k}": v for k, v in student.network.state_dict().items()}
    model |= {f"module.teacher_encoder.{k}": v for k, v in teacher.items()}
    model |= {"module.teacher_encoder.fc.0.weight": torch.ones(3), "module.predictor.weight": torch.ones(2)}
    path = tmp_path / "last.pth.tar"
    torch.save({"start_epoch": 300, "model": model, "optimizer": {"state": {}}}, path)
    load_backbone_weights(student, source(path, "momentum_teacher"))
    assert same(dict(student.network.state_dict()), teacher)


def test_names_of_the_onnx_mobilenet(tmp_path):
    """The names are written out from the file's description, with values that tell them apart."""
    norms = {"gamma": "weight", "beta": "bias", "running_mean": "running_mean", "running_var": "running_var"}
    layers = ["conv0", "batchnorm0", "conv1", "batchnorm1"]
    for block in range(17):
        for i in range(3):
            layers += [f"linearbottleneck{block}_conv{i}", f"linearbottleneck{block}_batchnorm{i}"]
    backbone = drawn("mobile", name="mobilenet_v2")
    own = backbone.network.state_dict()
    arrays, expected = {}, {}
    for number, layer in enumerate(layers):
        own_layer = re.sub(r"linearbottleneck(\d+)_", r"linearbottleneck.\1.", layer)
        for theirs, ours in {"weight": "weight"}.items() if "conv" in layer else norms.items():
            value = torch.full_like(own[f"{own_layer}.{ours}"], number + len(theirs) / 100)
            arrays[f"mobilenetv20_features_{layer}_{theirs}"] = value.numpy()
            expected[f"{own_layer}.{ours}"] = value
    assert len(arrays) == 265
    np.savez(tmp_path / "mobile.npz", **arrays)
    load_backbone_weights(backbone, source(tmp_path / "mobile.npz", "mobilenet_v2_onnx"))
    loaded = {k: v for k, v in backbone.network.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert same(loaded, expected)


def test_own_backbones_load_with_their_history(tmp_path):
    save_weights(tmp_path / "own.safetensors", drawn(9), {"kind": "backbone", "steps": 160})
    backbone = drawn("other")
    header = load_backbone_weights(backbone, source(tmp_path / "own.safetensors", "copytrace"))
    assert same(backbone.state_dict(), drawn(9).state_dict())
    assert header["made_by"] == {"kind": "backbone", "steps": 160}


# What is refused


def test_digests_are_compared(tmp_path):
    path = tmp_path / "net.pth"
    torch.save(published(), path)
    load_backbone_weights(drawn("other"), source(path, sha256=file_digest(path).upper()))
    with pytest.raises(InputError, match=r"net.pth have the SHA-256"):
        load_backbone_weights(drawn("other"), source(path, sha256="0" * 64))


@pytest.mark.parametrize("fault", ["lacks", "unknown", "shape"])
def test_files_that_do_not_fit_are_refused_whole(tmp_path, fault):
    state = published()
    match fault:
        case "lacks":
            del state["layer3.0.conv1.weight"]
        case "unknown":
            state["layer3.0.conv1.weights"] = torch.ones(1)
        case "shape":
            state["layer3.0.conv1.weight"] = torch.ones(3, 3)
    torch.save(state, tmp_path / "net.pth")
    backbone = drawn("other")
    with pytest.raises(InputError, match=rf"net\.pth.*{fault}.*1 tensors \(layer3\.0\.conv1\.weight"):
        load_backbone_weights(backbone, source(tmp_path / "net.pth"))
    assert same(backbone.state_dict(), drawn("other").state_dict())


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_pickles_are_not_executed(tmp_path):
    torch.save({"conv1.weight": Trap(tmp_path / "sprung")}, tmp_path / "trap.pth")
    with (tmp_path / "trap.npz").open("wb") as stream:
        np.savez(stream, a=np.array([Trap(tmp_path / "sprung")], dtype=object))
    for name in ("trap.pth", "trap.npz"):
        with pytest.raises(InputError, match=name):
            load_backbone_weights(drawn("other"), source(tmp_path / name))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["net.pth", "net.npz", "net.safetensors"])
def test_garbage_is_refused(tmp_path, name):
    for content in (b"", b"<html>404</html>", b"PK\x03\x04 torn"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            load_backbone_weights(drawn("other"), source(tmp_path / name))


def test_content_without_a_state_dict_is_refused(tmp_path):
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "numbers.pth")
    for name in ("list.pth", "numbers.pth"):
        with pytest.raises(InputError, match=f"{name} hold no state dict"):
            load_backbone_weights(drawn("other"), source(tmp_path / name))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source": "file", "mapping": "torchvision"}, "key path"),
        ({"source": "file", "path": "absent.pth", "mapping": "torchvision"}, "no weights file absent.pth"),
        ({"source": "file", "path": "$UNSET", "mapping": "torchvision"}, "environment variable"),
        ({"source": "file", "path": "absent.pth"}, "need a mapping"),
        ({"source": "file", "path": "absent.pth", "mapping": "byol"}, "not 'byol'"),
        ({"source": "timm"}, "is not a network of timm"),
        ({"source": "web"}, "source 'web'"),
    ],
)
def test_wrong_settings_are_refused(given, message):
    with pytest.raises(InputError, match=re.escape(message)):
        load_backbone_weights(drawn("other"), given)


# Addresses


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of the folder `served`: its address, the paths that were asked for, and how much it holds back."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "served").mkdir()
    asked, held_back = [], [0]

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=tmp_path / "served")

        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def copyfile(self, source, outputfile):
            content = source.read()
            outputfile.write(content[: len(content) - held_back[0]])

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", asked, held_back
        running.shutdown()
        thread.join()


def fetched(folder, url, mapping="barlow_twins", **more):
    backbone = drawn("other")
    where = {"source": "url", "url": url, "mapping": mapping, "downloads": str(folder)}
    return backbone, load_backbone_weights(backbone, where | more)


def test_an_address_is_fetched_once_and_checked(tmp_path, server, caplog):
    address, asked, _ = server
    torch.save(published(), tmp_path / "served" / "resnet.pth")
    digest = file_digest(tmp_path / "served" / "resnet.pth")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            backbone, header = fetched(tmp_path / "downloads", f"{address}/resnet.pth", sha256=digest)
            assert same(dict(backbone.network.state_dict()), published())
    assert asked == ["/resnet.pth"]
    assert not caplog.records
    assert header == {
        "source": "url", "mapping": "barlow_twins", "file": f"{address}/resnet.pth", "sha256": digest
    }  # fmt: skip
    assert len(list((tmp_path / "downloads").iterdir())) == 1


def test_without_a_checksum_it_is_printed_with_a_warning(tmp_path, server, caplog):
    address, _, _ = server
    torch.save(published(), tmp_path / "served" / "resnet.pth")
    with caplog.at_level(logging.WARNING):
        fetched(tmp_path / "downloads", f"{address}/resnet.pth", sha256=None)
    (warning,) = caplog.messages
    assert warning.startswith(f"warning: no sha256 is given for {address}/resnet.pth")
    assert file_digest(tmp_path / "served" / "resnet.pth") in warning


def test_another_file_than_expected_is_named_and_not_kept(tmp_path, server):
    address, asked, _ = server
    torch.save(published(), tmp_path / "served" / "resnet.pth")
    digest = file_digest(tmp_path / "served" / "resnet.pth")
    with pytest.raises(InputError, match=f"resnet.pth has the SHA-256 {digest}, not the expected {'0' * 64}"):
        fetched(tmp_path / "downloads", f"{address}/resnet.pth", sha256="0" * 64)
    assert not list((tmp_path / "downloads").iterdir())
    fetched(tmp_path / "downloads", f"{address}/resnet.pth")  # unchecked, and kept
    torch.save({**published(), "conv1.weight": torch.zeros(8, 3, 7, 7)}, tmp_path / "served" / "resnet.pth")
    changed = file_digest(tmp_path / "served" / "resnet.pth")
    backbone, _ = fetched(tmp_path / "downloads", f"{address}/resnet.pth", sha256=changed)
    assert not backbone.network.conv1.weight.any()
    assert len(asked) == 3


def test_what_breaks_off_is_not_kept(tmp_path, server):
    address, _, held_back = server
    torch.save(published(), tmp_path / "served" / "resnet.pth")
    size = (tmp_path / "served" / "resnet.pth").stat().st_size
    held_back[0] = 100
    with pytest.raises(InputError, match=f"resnet.pth broke off after {size - 100} of {size} bytes"):
        fetched(tmp_path / "downloads", f"{address}/resnet.pth")
    assert not list((tmp_path / "downloads").iterdir())


def test_addresses_that_do_not_answer(tmp_path, server):
    address, _, _ = server
    with pytest.raises(
        InputError, match=r"absent.pth can't be fetched \(HTTPError: .*404.*check address and connection"
    ):
        fetched(tmp_path, f"{address}/absent.pth")
    port = address.rsplit(":", 1)[1]
    with pytest.raises(InputError, match=r"can't be fetched \(URLError: .*source: file") as told:
        fetched(tmp_path, f"http://127.0.0.1:{1 if port != '1' else 2}/resnet.pth")
    assert "\n" not in str(told.value)


# timm


def test_a_timm_file_loads_without_its_classifier(tmp_path):
    """As the README says for the network of profiles/photos.yaml."""
    ensure_torchvision()
    import timm

    whole = timm.create_model("mobilenetv3_large_100", pretrained=False).state_dict()
    save_file(whole, tmp_path / "model.safetensors")
    backbone = create_backbone("timm:mobilenetv3_large_100")
    load_backbone_weights(backbone, source(tmp_path / "model.safetensors"))
    left_out = {"classifier.weight", "classifier.bias"}
    assert left_out < whole.keys()
    assert same(backbone.network.state_dict(), {k: v for k, v in whole.items() if k not in left_out})


def test_timm_weights_and_a_failed_download(monkeypatch):
    backbone = create_backbone("timm:test_resnet")
    other = create_backbone("timm:test_resnet").network
    with monkeypatch.context() as patch:
        patch.setattr(weights, "create_timm_network", lambda name, pretrained: other)
        header = load_backbone_weights(backbone, {"source": "timm"})
    assert same(dict(backbone.network.state_dict()), dict(other.state_dict()))
    assert header["source"] == "timm" and header["tag"]

    def offline(name, pretrained):
        raise LookupError("an error happened") from OSError("no route to host\nlong traceback")

    monkeypatch.setattr(weights, "create_timm_network", offline)
    with pytest.raises(
        InputError, match=r"timm:test_resnet could not be downloaded \(OSError: no route to host\)"
    ) as told:
        load_backbone_weights(backbone, {"source": "timm"})
    assert "\n" not in str(told.value)
