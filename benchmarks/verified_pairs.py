"""Pairs of photographs whose truth is known, with all that verification measures of them: to fit on, and to measure.

Queries are those of `copytrace.verification.trials`. Candidates are the best references by the global descriptor and by
local features. `fit_default_fusion.py` and `verification_quality.py` use it.
"""

from __future__ import annotations

import side_by_side  # first: it sets the threads and finds the library

# isort: split

import argparse
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch

from copytrace import descriptors, runtime
from copytrace.imaging import load_image
from copytrace.matching import query_bias
from copytrace.networks.model import CopyModel
from copytrace.networks.registry import create_backbone
from copytrace.networks.weights import load_backbone_weights
from copytrace.preprocessing import to_network_input
from copytrace.sample.jpeg import through_file
from copytrace.verification import background, candidates, descriptor_index, edits, features, matching, trials
from copytrace.verification.descriptor_index import IndexSettings
from copytrace.verification.features import Features
from copytrace.verification.frames import bounding_box
from copytrace.verification.trials import Trial
from copytrace.verification.verify import BOX, verify
from copytrace.whitening import Whitening, fit_whitening

#: Of profiles/photos.yaml and config.yaml: side of the network's picture, whitening, score normalisation.
SIDE, DIMENSIONS, POWER, NEIGHBOURS, WEIGHT = 224, 256, -0.25, 10, 1.0


@dataclass(frozen=True)
class Counts:
    """How many photographs and queries of each kind, and candidates of each list."""

    references: int = 600
    background: int = 300
    copies: int = 400
    negatives: int = 300
    pool: int = 700
    look_alikes: int = 400
    candidates: int = 5
    deep: int = 0  # candidates by the global descriptor alone, where more than `candidates` are wanted of it


def add_counts(parser: argparse.ArgumentParser, defaults: Counts) -> None:
    """A flag for each of the counts."""
    for name, value in vars(defaults).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)


def read_counts(args: argparse.Namespace) -> Counts:
    """The counts on the command line."""
    return Counts(**{name: getattr(args, name) for name in vars(Counts())})


def photographs(folder: Path) -> pd.DataFrame:
    """`image_id`, `split`, `licence`, `path`, `free` of photographs that are listed in the folder's metadata.csv."""
    table = pd.read_csv(folder / "metadata.csv", usecols=["image_id", "split", "licence"], dtype=str)
    table["path"] = [str(folder / split / f"{name}.jpg") for split, name in zip(table.split, table.image_id)]
    return table.assign(free=table.licence.str.match(r"CC0 |CC BY \d"))


def for_fitting(table: pd.DataFrame) -> pd.Series:
    """Whether a photograph is one to fit on: a training one, free, and not the third of each three; bool."""
    training = table.split == "training"
    return training & table.free & (training.cumsum() % 3 != 0)


# ---------------------------------------------------------------- one collection


class Collection:
    """References, described and indexed, and what a query is compared with."""

    def __init__(self, references: pd.DataFrame, unrelated: pd.DataFrame, weights: str):
        self.seconds: dict[str, float] = defaultdict(float)
        self.counts: dict[str, int] = defaultdict(int)
        self.unrelated = unrelated.path.tolist()
        self.image_ids = references.image_id.tolist()
        self.number = {name: number for number, name in enumerate(self.image_ids)}
        self.settings = features.FeatureSettings()
        self.model = CopyModel(create_backbone("mobilenet_v2")).eval()
        load_backbone_weights(self.model.backbone, {"source": "file", "path": weights, "mapping": "mobilenet_v2_onnx"})
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        raw = self.raw_global([load_image(path) for path in self.unrelated])
        self.whitening: Whitening = fit_whitening(raw, min(DIMENSIONS, len(raw) - 1), POWER)
        self.normalisers = self.whitening.apply(raw)
        pictures = [load_image(path) for path in references.path]
        with self.clock("references: network", len(pictures)):
            self.globals = self.whitening.apply(self.raw_global(pictures))
        with self.clock("references: local features and hash", len(pictures)):
            self.features = [features.extract(picture, self.settings) for picture in pictures]
        self.votes = candidates.VoteSettings()
        self.index = descriptor_index.build(lambda: self._pieces(self.features, 200), IndexSettings("ivf_sq8"))
        others = [features.extract(load_image(path), self.settings) for path in self.unrelated[:200]]
        self.background = descriptor_index.build(lambda: self._pieces(others, 600), IndexSettings("ivf_sq8"))

    @staticmethod
    def _pieces(described: Sequence[Features], keypoints: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for number, picture in enumerate(described):
            kept = picture.descriptors[:keypoints]
            yield kept, np.full(len(kept), number)

    @contextmanager
    def clock(self, stage: str, count: int = 1) -> Iterator[None]:
        """Adds the processor's time of a block to a stage's."""
        started = time.process_time()
        yield
        self.seconds[stage] += time.process_time() - started
        self.counts[stage] += count

    def raw_global(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """The network's pooled features of whole pictures, squeezed to a square: float32 [n, 1280]."""
        settings = descriptors.DescriptorSettings("feature", "published", "bf16", 32)
        out = []
        for start in range(0, len(pictures), settings.batch):
            squares = [
                cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
                for picture in pictures[start : start + settings.batch]
            ]
            batch = to_network_input(torch.from_numpy(np.stack(squares)), torch.device("cpu"))
            out.append(descriptors.forward(self.model, batch, settings))
        return np.concatenate(out)

    def described(self, paths: Iterable[str], done: runtime.Throughput) -> Iterator[Features]:
        """The local features of photographs, counted."""
        for path in paths:
            yield features.extract(load_image(path), self.settings)
            done.add()

    def global_scores(self, picture: np.ndarray) -> np.ndarray:
        """Score-normalised similarity to each reference, of the better of the picture and its mirror image: [r]."""
        both = self.whitening.apply(self.raw_global([picture, np.ascontiguousarray(picture[:, ::-1])]))
        bias = query_bias(both, [self.normalisers], NEIGHBOURS, WEIGHT)
        return (both @ self.globals.T - bias[:, None]).max(axis=0)

    def measure(
        self, query: Trial, picture: np.ndarray, made: edits.Copy | None, counts: Counts
    ) -> list[dict[str, Any]]:
        """All of a query's candidates, a row each."""
        with self.clock("network, as it is and mirrored"):
            scores = self.global_scores(picture)
        with self.clock("local features and hash"):
            described = features.extract(picture, self.settings)
        with self.clock("search by local features"):
            voted = candidates.find_candidates(self.index, described, self.votes)[: counts.candidates]
        with self.clock("distances to the background"):
            prepared = matching.prepare_query(described, background.squared_distances(self.background, described))
        order = np.argsort(-scores, kind="stable")[: max(counts.deep, counts.candidates)]
        by_local = dict(zip(voted.reference.tolist(), range(1, len(voted) + 1)))
        by_global = dict(zip(order.tolist(), range(1, len(order) + 1)))
        rows = []
        for number in sorted({*by_local, *by_global}):
            with self.clock("verification of a pair"):
                measured = verify(prepared, described, self.features[number])
            copy = self.image_ids[number] == query.reference_id
            truth: dict[str, float] = {}
            if copy and made is not None:
                for side, region in (("query", made.region), ("reference", made.source_region)):
                    truth |= {f"true_{side}_{name}": v + 0.5 for name, v in zip(BOX, bounding_box(region))}
            rows.append(
                {"query_id": query.query_id, "reference_id": self.image_ids[number], "score": scores[number]}
                | {"global_rank": by_global.get(number), "local_rank": by_local.get(number)}
                | {"global_score": scores[number] if by_global.get(number, 9999) <= counts.candidates else np.nan}
                | measured
                | truth
            )
        self.counts["query"] += 1
        return rows

    def costs(self) -> pd.DataFrame:
        """`stage`, `amount`, `unit`, `times`: processor's seconds of each stage, queries, and bytes of a reference."""
        count = len(self.features)
        rows = [(stage, seconds, "s", self.counts[stage]) for stage, seconds in self.seconds.items()]
        stored = sum(p.descriptors.nbytes + p.geometry.nbytes for p in self.features)
        sizes = {
            "index of local features": self.index.ntotal * (self.index.code_size + 8),  # type: ignore[attr-defined]
            "keypoints and descriptors": stored,
            "grey picture": sum(p.grey.nbytes for p in self.features),
            "hashes": sum(p.hashes.nbytes for p in self.features),
            "global descriptor": self.globals.nbytes,
        }
        rows += [(name, size / count, "bytes", count) for name, size in sizes.items()]
        return pd.DataFrame(
            [*rows, ("query", self.counts["query"], "queries", 1)], columns=["stage", "amount", "unit", "times"]
        )


# ---------------------------------------------------------------- queries


def measured_pairs(
    references: pd.DataFrame, others: pd.DataFrame, weights: str, counts: Counts, seed: str
) -> tuple[pd.DataFrame, pd.DataFrame, Collection]:
    """The pairs of all queries of a collection that is drawn from `references`, and the queries' truth.

    `others` are photographs that are no references. Columns of the pairs: `query_id`, `reference_id`, `score` (global),
    `global_rank` and `local_rank` (empty where the list does not have it), those of `verify`, `global_score` (missing
    unless the pair is one of the `candidates` best), and of copies the true boxes, `true_query_x0` …. Of the truth:
    the fields of `Trial`. Queries are
    measured in random order, and an interrupt (Ctrl-C) ends with those that are.
    """
    rng = runtime.generator(seed, "photographs")
    references = trials.divide(references, {"references": counts.references}, rng)["references"].sort_index()
    sizes = {part: getattr(counts, part) for part in ("background", "negatives", "pool")}
    parts = trials.divide(others, sizes, rng)
    copied = trials.divide(references, {"copies": counts.copies}, rng)["copies"]
    collection = Collection(references, parts["background"], weights)
    with runtime.Throughput("photographs looked through", side_by_side.THREADS, counts.pool) as done:
        described = collection.described(parts["pool"].path, done)
        look_alikes = trials.mine(parts["pool"], described, collection.index, collection.votes, counts.look_alikes)
    plan = trials.plan(copied, parts["negatives"], look_alikes)
    measured: dict[int, list[dict[str, Any]]] = {}
    with runtime.Throughput("queries", side_by_side.THREADS, len(plan)) as done, suppress(KeyboardInterrupt):
        for number in rng.permutation(len(plan)).tolist():
            picture, made = trials.make(plan[number], collection.unrelated, seed)
            measured[number] = collection.measure(plan[number], picture, made, counts)
            done.add()
    rows = [row for number in sorted(measured) for row in measured[number]]
    truth = pd.DataFrame([plan[number] for number in sorted(measured)])
    return pd.DataFrame(rows), truth, collection


COLLAGES = ("two references, whole", "two references, cut", "three references, cut", "reference and look-alike, cut")


def collage_pairs(
    collection: Collection, references: pd.DataFrame, look_alikes: Sequence[str], each: int, counts: Counts, seed: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The pairs of collages of several references, `each` of every kind, columns as of `measured_pairs`, and the truth.

    Whole pictures stand beside each other at the same height; others are cut to cells by `edits.collage`, where
    unrelated photographs fill the cells that are left. `look_alikes` are files. Of the truth: `query_id`,
    `reference_id`, `kind`, a row for each reference.
    """
    paths = references.set_index("image_id").path
    rows, truth = [], []
    with runtime.Throughput("collages", side_by_side.THREADS, each * len(COLLAGES)) as done:
        for number in range(each * len(COLLAGES)):
            kind = COLLAGES[number % len(COLLAGES)]
            rng = runtime.generator(seed, "collage", number)
            shown = rng.choice(collection.image_ids, {"two": 2, "three": 3, "reference": 1}[kind.split()[0]], False)
            files = [paths[name] for name in shown]
            if "look-alike" in kind:
                files.append(str(rng.choice(look_alikes)))
            parts = [load_image(file) for file in files]
            if "whole" in kind:
                height = min(part.shape[0] for part in parts)
                sizes = [(round(part.shape[1] * height / part.shape[0]), height) for part in parts]
                parts = [cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p, size in zip(parts, sizes)]
                picture = np.hstack(parts)
            else:
                picture = _in_cells(parts, rng, collection.unrelated)
            query = Trial(f"collage{number:04d}", "", "copy", "", "")
            rows += collection.measure(query, through_file(picture), None, counts)
            truth += [(query.query_id, name, kind) for name in shown]
            done.add()
    return pd.DataFrame(rows), pd.DataFrame(truth, columns=["query_id", "reference_id", "kind"])


def _in_cells(parts: list[np.ndarray], rng: np.random.Generator, unrelated: list[str]) -> np.ndarray:
    """A collage in which all parts stand; drawn again until it has cells for them."""
    others = [load_image(str(path)) for path in rng.choice(unrelated, 3)]  # a collage has four cells at most
    while True:
        waiting = deque([*parts[1:], *others])
        made = edits.collage(parts[0], rng, waiting.popleft)
        if len(waiting) <= len(others):
            return made.picture


PASTED = "soft reference, pasted on a hard ground"
SOFT, HARD, SHARE, WIDTH = 150, 600, 0.1, 0.4


def pasted_pairs(
    collection: Collection, references: pd.DataFrame, count: int, counts: Counts, seed: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The pairs of small pastes whose keypoints are weak among the ground's, and the truth as of `collage_pairs`.

    Of the references with `SOFT` keypoints the `SHARE` whose weakest of these is weakest, of the unrelated photographs
    with `HARD` those whose weakest is strongest; a paste has a share of `WIDTH` of the ground's width.
    """
    references = references[references.image_id.isin(collection.image_ids)]
    soft = _by_strength(references.path, SOFT)
    hard = _by_strength(pd.Series(collection.unrelated), HARD)
    soft, hard = soft[: max(round(SHARE * len(soft)), 1)], hard[-max(round(SHARE * len(hard)), 1) :]
    names = references.set_index("path").image_id
    rows, truth = [], []
    with runtime.Throughput("pastes", side_by_side.THREADS, count) as done:
        for number in range(count):
            rng = runtime.generator(seed, "pasted", number)
            path, ground = str(rng.choice(soft)), load_image(str(rng.choice(hard)))
            paste = load_image(path)
            scale = min(WIDTH * ground.shape[1] / paste.shape[1], ground.shape[0] / paste.shape[0])
            width, height = (max(int(side * scale), 1) for side in paste.shape[1::-1])
            x, y = (int(rng.integers(free + 1)) for free in (ground.shape[1] - width, ground.shape[0] - height))
            ground[y : y + height, x : x + width] = cv2.resize(paste, (width, height), interpolation=cv2.INTER_AREA)
            query = Trial(f"pasted{number:04d}", "", "copy", "", "")
            rows += collection.measure(query, through_file(ground), None, counts)
            truth.append((query.query_id, names[path], PASTED))
            done.add()
    return pd.DataFrame(rows), pd.DataFrame(truth, columns=["query_id", "reference_id", "kind"])


def _by_strength(paths: pd.Series, keypoints: int) -> list[str]:
    """Those photographs that have so many keypoints, by the response of the weakest of them."""
    settings = features.FeatureSettings()
    sift = cv2.SIFT.create(nfeatures=keypoints, contrastThreshold=settings.contrast)
    weakest = {}
    for path in paths:
        picture = cv2.cvtColor(load_image(path), cv2.COLOR_RGB2GRAY)
        scale = min(settings.longer_side / max(picture.shape), 1.0)
        found = sift.detect(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
        if len(found) >= keypoints:
            weakest[path] = min(keypoint.response for keypoint in found)
    return sorted(weakest, key=lambda path: weakest[path])


def run(main: Callable[[], None]) -> None:
    """Run a benchmark with the project's log."""
    runtime.set_threads(side_by_side.THREADS)
    runtime.run(main)
