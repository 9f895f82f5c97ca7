"""Weights: safetensors with a JSON header of what made them; published files come in through named mappings.

Nothing pickled is executed: published state dicts are read with `weights_only=True`, NumPy's without pickles.
"""

from __future__ import annotations

import json
import logging
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from copytrace.errors import InputError
from copytrace.networks.names import TIMM_PREFIX
from copytrace.networks.registry import Backbone, create_backbone, create_timm_network
from copytrace.provenance import file_digest, value_digest
from copytrace.runtime import atomic_output, derive_seed

State = dict[str, torch.Tensor]

HEADER = "copytrace"
PATIENCE = 60  # seconds that a server may be silent

log = logging.getLogger("copytrace")


@contextmanager
def seeded(*identity: object) -> Iterator[None]:
    """Torch's generator, seeded by `derive_seed(*identity)` inside the block and as it was after it.

    Layers draw their first weights from the global generator and take no other.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(*identity))
        yield


def save_weights(path: str | Path, weights: nn.Module | Mapping[str, torch.Tensor], header: dict) -> None:
    """Write a module's state (or a state dict) with `header`, whole or not at all; same content, same bytes.

    `header`: what made the weights, anything that JSON can say.
    """
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    # Tensors in memory order of channels_last, or two that share their memory, are refused by the format.
    copies = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in sorted(state.items())
    }
    with atomic_output(path) as temporary:
        save_file(copies, temporary, {HEADER: json.dumps(header, sort_keys=True)})


def read_weights(path: str | Path) -> tuple[State, dict[str, Any]]:
    """State dict and header of a file that `save_weights` wrote; InputError if it is none."""
    state, header = _read_safetensors(Path(path))
    if header is None:
        raise InputError(f"{path} has no copytrace header: name it as weights with source: file and a mapping")
    return state, header


def load_backbone_weights(backbone: Backbone, source: Mapping[str, Any]) -> dict[str, Any]:
    """Fill a backbone in place; returns the header that says where its weights came from.

    `source["source"]` is one of

    * `none`: a random draw that depends on nothing but `source["seed"]`, a list of numbers and strings;
    * `timm`: the pretrained weights of a `timm:NAME` network, downloaded unless they lie in timm's cache;
    * `file`: `source["path"]` (safetensors, .npz, or a state dict of torch), read by
      `source["mapping"]`, one of `MAPPINGS`; `source["sha256"]`, if given, must be the file's;
    * `url`: the same, of a file that is fetched from `source["url"]` unless it lies in the folder
      `source["downloads"]` already; without `sha256` the file's is logged with a warning.

    InputError for a wrong or unreadable file, a failed download, and for every name or shape that does not
    agree: nothing is loaded in part.
    """
    match source["source"]:
        case "none":
            with seeded(*source["seed"]):
                drawn = create_backbone(backbone.name)
            backbone.load_state_dict(drawn.state_dict())
            return {"source": "none", "seed": list(source["seed"])}
        case "timm":
            return _load_from_timm(backbone)
        case "file":
            given = source.get("path")
            if not given:
                raise InputError(f"weights of {backbone.name} with source: file need the key path")
            return _load_from_file(backbone, Path(given), source.get("mapping"), source.get("sha256"))
        case "url":
            url, sha256 = source["url"], source.get("sha256")
            path = _fetch(url, sha256, Path(source["downloads"]))
            header = _load_from_file(backbone, path, source.get("mapping"), sha256)
            if not sha256:
                log.warning("warning: no sha256 is given for %s; the fetched file's is %s", url, header["sha256"])
            return header | {"source": "url", "file": url}
        case other:
            raise InputError(f"weights of {backbone.name} have source {other!r}: choose none, timm, file or url")


def _load_from_timm(backbone: Backbone) -> dict[str, Any]:
    if not backbone.name.startswith(TIMM_PREFIX):
        raise InputError(f"{backbone.name} is not a network of timm: choose timm:NAME or weights of source: file")
    try:
        pretrained = create_timm_network(backbone.name, pretrained=True)
    except InputError:
        raise
    except Exception as failure:  # the hub's errors share no base class
        cause: BaseException = failure
        while cause.__cause__:  # the hub's own words are general
            cause = cause.__cause__
        reason = str(cause).strip().split("\n")[0]
        raise InputError(
            f"the weights of {backbone.name} could not be downloaded ({type(cause).__name__}: {reason}): check the "
            "connection, or fetch a file elsewhere and name it in backbone_table with source: file, path and mapping"
        ) from failure
    backbone.network.load_state_dict(pretrained.state_dict())
    about = {key: pretrained.pretrained_cfg.get(key) for key in ("tag", "hf_hub_id", "url", "license")}
    return {"source": "timm", **{key: value for key, value in about.items() if value}}


def _fetch(url: str, sha256: str | None, folder: Path) -> Path:
    """The file at `url`, kept in `folder` whole or not at all; InputError if it can't be had or is another one."""
    path = folder / f"{value_digest(url)}.{Path(urlsplit(url).path).name}"
    if path.is_file() and sha256 in (None, file_digest(path)):
        return path
    log.info("fetching %s", url)
    with atomic_output(path) as temporary:
        try:
            with urlopen(url, timeout=PATIENCE) as answer, temporary.open("wb") as file:
                shutil.copyfileobj(answer, file)
                size = answer.headers["Content-Length"]
        except (OSError, HTTPException) as failure:
            raise InputError(
                f"{url} can't be fetched ({type(failure).__name__}: {failure}): check address and connection, or fetch "
                "the file elsewhere and name it with source: file"
            ) from failure
        got = temporary.stat().st_size
        if size is not None and got != int(size):
            raise InputError(f"{url} broke off after {got} of {size} bytes: run the same command again")
        digest = file_digest(temporary)
        if sha256 and digest != sha256.lower():
            raise InputError(f"{url} has the SHA-256 {digest}, not the expected {sha256}: it is another file")
    return path


def _load_from_file(backbone: Backbone, path: Path, mapping: str | None, sha256: str | None) -> dict[str, Any]:
    if mapping not in MAPPINGS:
        raise InputError(f"weights {path} need a mapping, one of {', '.join(MAPPINGS)}, not {mapping!r}")
    if not path.is_file():
        hint = ": set the environment variable in its name" if "$" in str(path) else ""
        raise InputError(f"there is no weights file {path}{hint}")
    digest = file_digest(path)
    if sha256 and digest != sha256.lower():
        raise InputError(f"weights {path} have the SHA-256 {digest}, not the expected {sha256}: fetch them again")
    state, made_by = _read_published(path)
    state = MAPPINGS[mapping](state)
    _check_names_and_shapes(backbone, state, path, mapping)
    backbone.network.load_state_dict(state)
    header = {"source": "file", "mapping": mapping, "file": path.name, "sha256": digest}
    return header if made_by is None else {**header, "made_by": made_by}


def _check_names_and_shapes(backbone: Backbone, state: State, path: Path, mapping: str) -> None:
    expected = backbone.network.state_dict()
    # The counter of batches came late to torch's batch norm: files without it are whole, torch fills it in.
    missing = [k for k in expected if k not in state and not k.endswith(".num_batches_tracked")]
    unexpected = [k for k in state if k not in expected]
    misshapen = [k for k in state if k in expected and state[k].shape != expected[k].shape]
    found = [("lacks", missing), ("has the unknown", unexpected), ("has another shape for", misshapen)]
    complaints = [f"{verb} {len(keys)} tensors ({', '.join(keys[:3])})" for verb, keys in found if keys]
    if complaints:
        raise InputError(
            f"weights {path}, read with mapping {mapping}, do not fit {backbone.name}: "
            f"the file {' and '.join(complaints)}"
        )


def _read_published(path: Path) -> tuple[State, dict[str, Any] | None]:
    """State dict of a file of any accepted format, and its header if it is one of ours."""
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}, None
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        ValueError,
        EOFError,
        RuntimeError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as broken:
        raise InputError(
            f"weights {path} can't be read as plain tensors ({type(broken).__name__}): "
            "give a state dict of torch, a .npz without objects or a .safetensors file"
        ) from broken
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise InputError(f"weights {path} hold no state dict: give the file of names and tensors")
    return dict(content), None


def _read_safetensors(path: Path) -> tuple[State, dict[str, Any] | None]:
    try:
        with safe_open(path, framework="pt", device="cpu") as stored:
            header = (stored.metadata() or {}).get(HEADER)
            state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  (no mapping)
        return state, None if header is None else json.loads(header)
    except (OSError, SafetensorError) as broken:
        raise InputError(f"{path} can't be read as a safetensors file: {broken}") from broken


def _without_classifier(state: State) -> State:
    """Torchvision's names: all but the classifier's."""
    return {k: v for k, v in state.items() if not k.startswith(("fc.", "classifier."))}


def _as_it_is(state: State) -> State:
    """The official Barlow Twins file is a bare backbone in torchvision's names (D²LV sheet, 3.1)."""
    return dict(state)


def _teacher_only(state: State) -> State:
    """The teacher of a Momentum² checkpoint, without its head (D²LV sheet, 3.2)."""
    prefix = "module.teacher_encoder."
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix) and "fc" not in k}


def _from_onnx_model_zoo(state: State) -> State:
    """`mobilenetv20_features_linearbottleneck3_batchnorm0_gamma` → `linearbottleneck.3.batchnorm0.weight`."""
    renamed = {}
    for name, value in state.items():
        name = name.removeprefix("mobilenetv20_features_")
        name = re.sub(r"^linearbottleneck(\d+)_", r"linearbottleneck.\1.", name)
        name = re.sub(r"_(weight|gamma|beta|running_mean|running_var)$", r".\1", name)
        renamed[name.replace(".gamma", ".weight").replace(".beta", ".bias")] = value
    return renamed


def _from_own_backbone(state: State) -> State:
    """A backbone that `save_weights` wrote."""
    return {k.removeprefix("network."): v for k, v in state.items()}


MAPPINGS: dict[str, Callable[[State], State]] = {
    "torchvision": _without_classifier,
    "barlow_twins": _as_it_is,
    "momentum_teacher": _teacher_only,
    "mobilenet_v2_onnx": _from_onnx_model_zoo,
    "copytrace": _from_own_backbone,
}
