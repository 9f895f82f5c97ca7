"""Descriptors of parts: one decode a picture, all models and scales of a job from it (D²LV sheet, 5.4).

How they are stored is `descriptor_files`' matter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset

from copytrace import runtime
from copytrace.devices import autocast, keep_freed_memory, pick_device
from copytrace.imaging import load_image
from copytrace.networks.model import CopyModel, Kind, load_copy_model
from copytrace.preprocessing import CUT, Preprocessing, cut_to_scale, to_network_input
from copytrace.provenance import file_digest

#: What makes descriptors of raw ones: float32 [n, d] → [n, k].
Finishing = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to describe pictures: `name` is FAMILY.BACKBONE."""

    name: str
    network: CopyModel
    preprocessing: Preprocessing
    weights: str
    weights_sha256: str

    def attributes(self) -> dict[str, str]:
        """What a descriptor file says about this model."""
        return {
            "weights": self.weights,
            "weights_sha256": self.weights_sha256,
            "preprocessing": json.dumps(asdict(self.preprocessing)),
        }


def load_models(specifications: list[dict[str, Any]]) -> list[LoadedModel]:
    """Load models from a list of {name, weights (path), grey, blur, blur_reference_side}."""
    return [
        LoadedModel(
            name=s["name"],
            network=load_copy_model(s["weights"]),
            preprocessing=Preprocessing(s["grey"], s["blur"], s["blur_reference_side"]),
            weights=s["weights"],
            weights_sha256=file_digest(s["weights"]),
        )
        for s in specifications
    ]


@dataclass(frozen=True)
class DescriptorSettings:
    """The section `descriptors` of the configuration, as far as extraction needs it."""

    kind: Kind
    gem: Literal["published", "learned"]
    precision: str
    batch: int


class _Pictures(Dataset):
    """Item: the parts of one picture as uint8 [parts, scale, scale, 3] for every (preprocessing, scale)."""

    def __init__(self, pictures: pd.DataFrame, parts: pd.DataFrame, variants: list[tuple[Preprocessing, int]]):
        self.paths, self.image_ids, self.variants = list(pictures.path), list(pictures.image_id), variants
        self.rows = parts.groupby("image_id", sort=False).indices
        # of a table's rows one by one pandas makes a table each: slower than to cut and resize a small picture
        self.cuts = parts[CUT].to_numpy(np.int64)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> list[torch.Tensor]:
        picture = load_image(self.paths[i])
        images = {preprocessing: preprocessing.apply(picture) for preprocessing, _ in self.variants}
        cuts = self.cuts[self.rows[self.image_ids[i]]]
        return [torch.from_numpy(cut_to_scale(images[p], cuts, scale)) for p, scale in self.variants]


def describe(
    pictures: pd.DataFrame,
    parts: pd.DataFrame,
    models: list[LoadedModel],
    scales: list[int],
    settings: DescriptorSettings,
    threads: int,
    workers: int = 0,
    finishing: Mapping[tuple[str, int], Finishing] | None = None,
) -> dict[tuple[str, int], np.ndarray]:
    """Descriptors of all parts of `pictures` (manifest rows), in the order of pictures and part numbers.

    Every picture is decoded once, by `workers` processes (0: by this one). With `finishing`, such as the whitening of
    each model and scale, they are finished batch by batch: raw ones of a large shard may be many times as large.
    Returns {(model, scale): float32 [parts, d]}; d is there even where there are no parts.
    """
    device = pick_device()
    keep_freed_memory()
    for model in models:
        model.network.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    variants = sorted(
        {(m.preprocessing, s) for m in models for s in scales}, key=lambda v: (v[1], v[0].grey, v[0].blur)
    )
    described = {}
    for model in models:
        for scale in scales:
            nothing = np.empty((0, model.network.dimensions(settings.kind)), np.float32)
            if finishing is not None:
                nothing = finishing[model.name, scale](nothing)
            described[model.name, scale] = np.empty((len(parts), nothing.shape[1]), np.float32)
    forwards = len(parts) * len(scales) * len(models)
    pictures_each = len(pictures) / max(forwards, 1)
    done = 0
    with runtime.Throughput("forward passes", threads, forwards, pictures_each) as meter:
        for batch in load_parts(pictures, parts, variants, settings.batch, workers):
            rows = slice(done, done + len(batch[0]))
            for (preprocessing, scale), pixels in zip(variants, batch):
                network_input = to_network_input(pixels, device)
                for model in models:
                    if model.preprocessing == preprocessing:
                        vectors = forward(model.network, network_input, settings)
                        if finishing is not None:
                            vectors = finishing[model.name, scale](vectors)
                        described[model.name, scale][rows] = vectors
                        meter.add(len(pixels))
            done = rows.stop
    return described


def load_parts(
    pictures: pd.DataFrame,
    parts: pd.DataFrame,
    variants: list[tuple[Preprocessing, int]],
    size: int,
    workers: int = 0,
) -> Iterator[list[torch.Tensor]]:
    """All parts in order, in batches of `size`: for every (preprocessing, scale) uint8 [size, scale, scale, 3].

    Every picture is decoded once, by `workers` processes (0: by this one), which are about one batch ahead: while the
    network is at work on a batch they make the next one.
    """
    # Each process has two groups of pictures ready. One tensor for a group: it takes an open file to hand it over.
    parts_each = len(parts) / max(len(pictures), 1)
    together = max(1, round(size / max(parts_each, 1) / (2 * max(workers, 1))))
    dataset = _Pictures(pictures, parts, variants)
    waiting: list[list[torch.Tensor]] = []
    count = 0
    for group in DataLoader(dataset, batch_size=together, collate_fn=_join, num_workers=workers):
        waiting.append(group)
        count += len(group[0])
        if count < size:
            continue
        joined = _join(waiting)
        full = count - count % size
        for start in range(0, full, size):
            yield [variant[start : start + size] for variant in joined]
        waiting, count = [[variant[full:] for variant in joined]], count % size
    if count:
        yield _join(waiting)


def _join(groups: list[list[torch.Tensor]]) -> list[torch.Tensor]:
    """Parts of one group of pictures after those of another, per variant."""
    return [torch.cat(variant) for variant in zip(*groups)]


@torch.inference_mode()
def forward(network: CopyModel, network_input: torch.Tensor, settings: DescriptorSettings) -> np.ndarray:
    """Raw descriptors, float32 [n, d], of a batch as `to_network_input` gives it."""
    with autocast(settings.precision, network_input.device):
        vectors = network.descriptor(network_input, settings.kind, settings.gem)
    return vectors.float().cpu().numpy()
