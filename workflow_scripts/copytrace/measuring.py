"""Measures the rates of the bill on this machine: a second or so of each kind of work that a configuration has.

On a processor a rate is work per second of processor time, of one thread; so another process beside it changes
little. On a GPU it is work per second of the clock. Networks are measured as the workflow uses them, with a batch
that this machine gets through; multiply-adds carry the rate over to other sides and batches of the same network.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from copytrace import bill, ensembling, folders, matching, parts, pdq, preprocessing, runtime, search
from copytrace.bill import Rate
from copytrace.configuration import (
    Config,
    detects,
    given_roles,
    pair_families,
    pretrained,
    pretraining_of,
    trained_families,
    training_of,
    verifies,
)
from copytrace.descriptors import DescriptorSettings, forward
from copytrace.detection import letterbox
from copytrace.detection.network import DetectingSettings, create_detector, detect
from copytrace.detection.scenes import Labelled, SceneRenderer, SceneSettings
from copytrace.detection.training import DetectorTraining, DetectorTrainingSettings
from copytrace.devices import autocast, keep_freed_memory, pick_device
from copytrace.errors import InputError
from copytrace.faces import FaceSettings, count_faces
from copytrace.figures import spread
from copytrace.imaging import UnreadableImage, load_image
from copytrace.manifests import list_pictures
from copytrace.networks.costs import backbone_cost, detector_cost
from copytrace.networks.model import CopyModel
from copytrace.networks.registry import create_backbone
from copytrace.pretraining import METHODS, TwoViews
from copytrace.proposals import SearchSettings, propose
from copytrace.provenance_page import machine
from copytrace.rates import RatesFile, settings_of
from copytrace.sample import queries, scenes
from copytrace.synthesis.foreign import ForeignPictures
from copytrace.synthesis.operations import EMOJI
from copytrace.synthesis.rendering import Renderer, render_unedited
from copytrace.synthesis.tarset import TrainingSet, write_shard
from copytrace.training import ClassBalancedBatches, CopyTraining, TrainingSettings
from copytrace.verification import descriptor_index
from copytrace.verification.descriptor_index import IndexSettings
from copytrace.verification.features import DIMENSIONS, FeatureSettings, extract
from copytrace.verification.matching import prepare_query
from copytrace.verification.verify import verify
from copytrace.whitening import Whitening, fit_whitening

PICTURES = 12  # of those at hand, or drawn
SECONDS = 1.0  # of each kind of work
ENOUGH = 2e11  # multiply-adds that a processor is asked for at once
CLASSES = 1000  # at most, of a classifier that is only measured
COMMAND = "snakemake bill"

Copies = list[tuple[int, int, bytes]]  # class, copy, JPEG

# Runs a script's --help and says what that took, as a process of its own: this one's size would count as its size.
START = """
import runpy, sys, time
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit:
    pass
from copytrace.runtime import peak_memory_mb
print(time.process_time(), peak_memory_mb() * 1e6)
"""


def measure(config: Config, scripts: Path, threads: int) -> RatesFile:
    """All rates that a bill of `config` needs, `scripts` being the folder of the workflow's scripts."""
    runtime.set_threads(threads)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        measuring = _Measuring(config, Path(folder))
        measuring.everything()
    one = bill.Pictures(dict.fromkeys(given_roles(config), 1), megapixels=1, found_parts=1)
    started = sorted(
        {
            work.script
            for plan in (bill.plan, bill.plan_track)
            for work in plan(config, one, backbone_cost, detector_cost)
        }
    )
    return RatesFile(measuring.rates, {script: start(scripts / script) for script in started}, measuring.found)


def start(script: Path) -> tuple[float, float]:
    """Processor seconds and bytes of memory that a script takes before it begins."""
    command = [sys.executable, "-c", START, str(script), "--help"]
    seconds, held = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-2:]
    return round(float(seconds), 3), round(float(held))


class _Measuring:
    def __init__(self, config: Config, folder: Path):
        self.config, self.folder = config, folder
        self.rates: dict[str, Rate] = {}
        self.found: dict[str, float] = {}
        self.device = pick_device()
        self.names = {"cpu": dict(machine())["processor"], "cpu threads": str(torch.get_num_threads())}
        if self.device.type == "cuda":
            self.names["gpu"] = torch.cuda.get_device_name()
        self.trained = [f for f in config["families"] if training_of(config, f)["steps"]]
        self.trains = bool(trained_families(config))

    def everything(self) -> None:
        self.pictures()
        self.reading()
        self.preparing()
        copies = self.rendering() if self.trained else []
        squashed = self.rendering_pairs() if pair_families(self.config) else []
        if self.trains:
            self.loading(copies or squashed)
        table = self.config["backbone_table"]
        for network in dict.fromkeys(table[backbone]["network"] for backbone in self.config["backbones"]):
            self.describing(network)
            if self.trains:
                self.training(network)
        for backbone in pretrained(self.config):
            self.pretraining(table[backbone]["weights"]["source"], table[backbone]["network"], backbone)
        if detects(self.config):
            self.detecting(table[self.config["detection"]["backbone"]]["network"])
        self.whitening()
        self.matching()
        self.tables()
        if verifies(self.config):
            self.verification()

    def take(self, kind: str, unit: str, work: Callable[[], float], processor: str = "cpu") -> None:
        """Measure a kind of work; `work` does some of it and returns how much, in `unit`."""

        def now() -> float:
            if processor == "cpu":
                return time.process_time()
            torch.cuda.synchronize()
            return time.perf_counter()

        began = now()
        amount = work()  # also what is only done the first time
        spent = now() - began
        if spent < 3 * SECONDS:
            amount, began = 0.0, now()
            while (spent := now() - began) < SECONDS:
                amount += work()
        self.rates[kind] = Rate(
            value=float(f"{amount / spent:.4g}"),
            unit=unit,
            device=self.names[processor],
            processor=processor,
            command=COMMAND,
            date=datetime.now(UTC).date().isoformat(),
            settings=settings_of(kind, self.config),
        )
        runtime.log.info("%s: %.4g %s/s", kind, self.rates[kind].value, unit)

    # What the pictures are like, and how fast they are read

    def pictures(self) -> None:
        """Some of the references at hand; drawn ones of the stated size where there are none."""
        references, stated = self.config["images"]["references"], self.config["bill"]["megapixels"]
        self.paths = [] if references is None else _readable(references)
        if not self.paths:
            sample = references is None
            if not sample and stated is None:
                raise InputError(
                    f"none of the pictures of images.references ({references}) can be read: name their mean size in "
                    "bill.megapixels"
                )
            side = self.config["sample"]["side"] if sample else round(1000 * (stated * 4 / 3) ** 0.5)
            drawn = iter(range(10**6))
            self.paths = []

            def draw() -> float:
                number = next(drawn)
                picture = scenes.render(scenes.scene(self.config["seed"], "references", number), side)
                if number < PICTURES:
                    self.paths.append(str(self.folder / f"{number}.jpg"))
                    queries.save(picture, Path(self.paths[-1]))
                return _megapixels(picture)

            while len(self.paths) < PICTURES:
                draw()
            self.take("draw", "megapixels drawn", draw)
        self.decoded = [load_image(path) for path in self.paths]
        sizes = [_megapixels(picture) for picture in self.decoded]
        self.found["megapixels"] = stated or round(float(np.mean(sizes)), 4)
        height, width = np.array([picture.shape[:2] for picture in self.decoded]).T
        self.manifest = pd.DataFrame({"image_id": self.paths, "path": self.paths, "width": width, "height": height})
        self.turn = 0

    def next(self) -> int:
        """The pictures in turn."""
        self.turn += 1
        return self.turn % len(self.paths)

    def reading(self) -> None:
        """Decoding, faces, proposals and hashes: all of whole pictures."""
        kinds = self.config["parts"]["kinds"]
        settings = SearchSettings.from_table(self.config["parts"]["selective_search"])
        self.boxes: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        faces = FaceSettings(*(self.config["faces"][key] for key in ("model", "upsample", "max_side")))

        def decode() -> float:
            return _megapixels(load_image(self.paths[self.next()]))

        def find() -> float:
            i = self.next()
            count_faces(load_image(self.paths[i]), faces)
            return _megapixels(self.decoded[i])

        def search_regions() -> float:
            i = self.next()
            self.boxes[i] = propose(load_image(self.paths[i]), settings)
            return _megapixels(self.decoded[i])

        def hash_picture() -> float:
            i = self.next()
            pdq.pdq_hash(load_image(self.paths[i]))
            return _megapixels(self.decoded[i])

        self.take("decode", "megapixels decoded", decode)
        self.take("faces", "megapixels searched for faces", find)
        if "selective_search" in kinds:
            self.take("proposals", "megapixels searched for regions", search_regions)
            self.found["found_parts"] = round(float(np.mean([len(boxes) for boxes, _ in self.boxes.values()])), 2)
        self.take("hash", "megapixels hashed", hash_picture)

    def preparing(self) -> None:
        """What stands between a decoded picture and the network: grey, blur, parts cut and resized."""
        kinds, scales = self.config["parts"]["kinds"], self.config["scales"]
        fixed = parts.fixed_query_parts(self.manifest["width"].to_numpy(), self.manifest["height"].to_numpy(), kinds)
        nothing = np.empty((0, 4), np.int32), np.empty(0)
        boxes, scores = zip(*(self.boxes.get(i, nothing) for i in range(len(self.paths))))
        found = parts.proposed_parts(boxes, scores, "selective_search")
        tables = {
            "cut_whole": parts.whole_pictures(self.manifest),
            "cut_parts": parts.parts_table([fixed, found], self.manifest["image_id"], kinds),
        }
        for kind, table in tables.items():
            rows = [
                table.loc[table["image_id"] == image_id, preprocessing.CUT].to_numpy(np.int64)
                for image_id in self.manifest["image_id"]
            ]

            def cut(rows: list[np.ndarray] = rows) -> float:
                i = self.next()
                image = preprocessing.Preprocessing().apply(self.decoded[i])
                squares = [preprocessing.cut_to_scale(image, rows[i], scale) for scale in scales]
                return sum(square.size for square in squares) / 3e6

            self.take(kind, "megapixels of parts cut and resized", cut)
        described = [*self.config["families"], *self.config["evaluation"]["untrained_families"]]
        described += pair_families(self.config)
        looks = [self.config["family_table"][family] for family in described]
        blurs = [radius for look in looks for radius in (look["blur"], look["query_blur"]) if radius]
        side = self.config["descriptors"]["blur_reference_side"]
        wanted = {"blur": preprocessing.Preprocessing(False, max(blurs), side)} if blurs else {}
        if any(look["grey"] for look in looks):
            wanted["grey"] = preprocessing.Preprocessing(grey=True)
        for kind, look in wanted.items():

            def change(look: preprocessing.Preprocessing = look) -> float:
                i = self.next()
                look.apply(self.decoded[i])
                return _megapixels(self.decoded[i])

            self.take(kind, f"megapixels made {kind}", change)

    # Training sets and networks

    def rendering(self) -> Copies:
        """The copies of a class of each family."""
        synthesis, table = self.config["synthesis"], self.config["family_table"]
        foreign = ForeignPictures(self.paths)
        classes: list[Copies] = []

        def render() -> float:
            family = self.trained[len(classes) % len(self.trained)]
            renderer = Renderer.from_settings(self.config["seed"], family, synthesis, table[family], foreign)
            classes.append(renderer((len(classes), self.paths[self.next()])))
            return len(classes[-1]) * megapixels

        megapixels = synthesis["side"] ** 2 / 1e6
        while len(classes) < max(2, len(self.trained)):
            render()
        self.take("render", "megapixels of copies rendered", render)
        copies = [copy for copies in classes for copy in copies]
        size = sum(len(jpeg) for _, _, jpeg in copies) / (len(copies) * megapixels)
        self.found["copy_bytes"] = round(size)
        return copies

    def rendering_pairs(self) -> Copies:
        """Pictures of known pairs, which are only squashed; two here are a class."""
        section = self.config["synthesis"]
        squashed: Copies = []
        numbers = np.arange(len(self.paths))
        classes = pd.DataFrame({"class_id": numbers // 2, "copy": numbers % 2, "path": self.paths})

        def render() -> float:
            squashed[:] = render_unedited(classes, section["side"], False, section["quality"], 1)
            return sum(map(_megapixels, self.decoded))

        self.take("unedited", "megapixels of pictures squashed", render)
        return squashed

    def loading(self, copies: Copies) -> None:
        """Batches of training pictures."""
        megapixels = self.config["synthesis"]["side"] ** 2 / 1e6
        index = self.folder / "0-of-1.parquet"
        write_shard(self.folder / "0-of-1.tar", "0-of-1.tar", copies).to_parquet(index)
        settings = self.training_settings()
        batches = ClassBalancedBatches(TrainingSet([index]), settings, ("rates",))

        def batch() -> float:
            return len(batches[self.next()][1]) * megapixels

        self.take("batch", "megapixels of training pictures loaded", batch)

    def training_settings(self) -> TrainingSettings:
        """Of the first family that is trained, its copies flipped and shifted."""
        section = training_of(self.config, trained_families(self.config)[0])
        return TrainingSettings.from_table(section | {"augment": True})

    def batch(self, multiply_adds: float, wanted: int) -> int:
        """Pictures at once: as many as wanted on a GPU, on a processor what it gets through in a few seconds."""
        return wanted if self.device.type == "cuda" else int(np.clip(ENOUGH // multiply_adds, 1, wanted))

    def pixels(self, count: int, side: int) -> torch.Tensor:
        """Random pictures, uint8 [count, side, side, 3]."""
        return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8)

    def describing(self, network: str) -> None:
        """Forward passes at the first scale."""
        section, side = self.config["descriptors"], self.config["scales"][0]
        embedding = section["kind"] == "embedding" and self.trains
        training, cost = self.config["training"], backbone_cost(network, side)
        projector = {"hidden": training["projector_hidden"], "embedding": training["embedding"]} if embedding else None
        head = bill.layers([cost.width, *projector.values()]) if projector else 0
        model = CopyModel(create_backbone(network), projector).to(self.device)
        model = model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        settings = DescriptorSettings(**{key: section[key] for key in ("kind", "gem", "precision", "batch")})
        count = self.batch(cost.multiply_adds + head, section["batch"])
        pictures = self.pixels(count, side)

        def describe() -> float:
            forward(model, preprocessing.to_network_input(pictures, self.device), settings)
            return count * (cost.multiply_adds + head)

        self.width = projector["embedding"] if projector else cost.width
        self.take(f"forward.{network}", "multiply-adds", describe, self.processor())

    def training(self, network: str) -> None:
        """Training steps: forward, loss, backward, optimiser."""
        section, side = self.config["training"], self.config["synthesis"]["side"]
        settings = self.training_settings()
        cost = backbone_cost(network, side)
        projector = {"hidden": section["projector_hidden"], "embedding": section["embedding"]}
        wanted = section["classes_per_batch"] * section["copies_per_class"]
        per_picture = bill.training_multiply_adds(cost, section, CLASSES)
        count = max(4, self.batch(per_picture, wanted))
        model = CopyModel(create_backbone(network, waveblock=section["waveblock"]), projector)
        module = CopyTraining(model, CLASSES, settings, ("rates",))
        batch = 0, self.pixels(count, side), torch.arange(count).div(2, rounding_mode="floor").to(self.device)
        self.stepping(f"train.{network}", module, batch, section["precision"], count * per_picture)

    def pretraining(self, method: str, network: str, backbone: str) -> None:
        """Steps of a pretraining, and the views that they take."""
        section = pretraining_of(self.config, backbone)
        create_module, settings_class = METHODS[method]
        views = TwoViews(self.paths, settings_class(**section | {"batch": 4}), ("rates",))

        def load() -> float:
            return sum(view.numel() for view in views[self.next()]) / 3e6

        if f"views.{method}" not in self.rates:
            self.take(f"views.{method}", "megapixels of views made", load)
        if f"{method}.{network}" in self.rates:
            return
        cost = backbone_cost(network, section["side"])
        per_view = bill.pretraining_multiply_adds(method, cost, section)
        count = max(2, self.batch(per_view, 2 * section["batch"]) // 2)
        module = create_module(create_backbone(network), settings_class(**section))
        batch = self.pixels(count, section["side"]), self.pixels(count, section["side"])
        self.stepping(f"{method}.{network}", module, batch, section["precision"], 2 * count * per_view)

    def detecting(self, network: str) -> None:
        """Scenes, training steps of the overlay detector on them, and its forward passes."""
        section, side = self.config["detection"], self.config["detection"]["side"]
        render = SceneRenderer(("rates",), ForeignPictures(self.paths), EMOJI, side, SceneSettings(**section["scenes"]))
        scenes: list[Labelled] = []

        def draw() -> float:
            scenes.append(render(len(scenes)))
            return side**2 / 1e6

        def lay() -> float:
            letterbox.on_canvas(self.decoded[self.next()], side)
            return side**2 / 1e6

        self.take("scenes", "megapixels of canvases with scenes drawn", draw)
        self.take("canvas", "megapixels of canvases laid out", lay)
        cost = detector_cost(network, section["channels"], side)
        detector = create_detector(create_backbone(network), section["channels"], side)
        settings = DetectorTrainingSettings(**{f.name: section[f.name] for f in fields(DetectorTrainingSettings)})
        count = max(2, min(len(scenes), self.batch(3 * cost.multiply_adds, section["batch"])))
        chosen = [scenes[i % len(scenes)] for i in range(count)]
        canvases = torch.stack([torch.from_numpy(letterbox.on_canvas(scene.picture, side)) for scene in chosen])
        boxes = [torch.from_numpy(scene.boxes).to(self.device) for scene in chosen]
        labels = [torch.from_numpy(scene.labels).to(self.device) for scene in chosen]
        module = DetectorTraining(detector, settings)
        amount = 3 * count * cost.multiply_adds
        self.stepping(f"train_detector.{network}", module, (canvases, boxes, labels), section["precision"], amount)
        keys = {field.name: section[field.name] for field in fields(DetectingSettings)}
        detector.eval()

        def look() -> float:
            detect(detector, canvases, [(side, side)] * count, DetectingSettings(**keys | {"batch": count}))
            return count * cost.multiply_adds

        self.take(f"detect.{network}", "multiply-adds", look, self.processor())

    def stepping(self, kind: str, module: Any, batch: tuple, precision: str, amount: float) -> None:
        """Measure steps of a training on one batch over and over."""
        module.to(self.device).to(memory_format=torch.channels_last).train()
        optimiser = module.configure_optimizers()["optimizer"]

        def step() -> float:
            optimiser.zero_grad()
            with autocast(precision, self.device):
                loss = module.training_step(batch, 0)
            loss.backward()
            optimiser.step()
            return amount

        self.take(kind, "multiply-adds", step, self.processor())

    def processor(self) -> str:
        """Where networks run."""
        return "gpu" if self.device.type == "cuda" else "cpu"

    # Descriptors and pairs

    def whitening(self) -> None:
        """Fitting a whitening, and applying one."""
        kept, draw = self.config["whitening"]["dimensions"], runtime.generator("rates", "whitening")
        some = min(self.width, 1024)
        features = draw.normal(size=(2 * some, some)).astype(np.float32)

        def fit() -> float:
            fit_whitening(features, some, -0.5)
            return bill.whitening_multiply_adds(*features.shape)

        self.take("fit", "multiply-adds", fit)
        whitening = Whitening(np.zeros(self.width, np.float32), np.ones((self.width, kept), np.float32))
        raw = draw.normal(size=(2000, self.width)).astype(np.float32)

        def project() -> float:
            whitening.apply(raw)
            return raw.size * kept

        self.take("project", "multiply-adds", project)

    def matching(self) -> None:
        """Normalised best pairs of random unit vectors."""
        dimensions, settings = self.config["whitening"]["dimensions"], self.config["matching"]
        vectors = runtime.generator("rates", "matching").normal(size=(26_000, dimensions)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        wanted, background, references = vectors[:1000], vectors[1000:6000], vectors[6000:]

        def match() -> float:
            bias = matching.query_bias(wanted, [background], settings["neighbours"], settings["weight"])
            matching.best_pairs(wanted, bias, lambda: [references], settings["pairs_per_query"] * len(wanted))
            return len(wanted) * (len(background) + len(references)) * dimensions

        self.take("search", "multiply-adds", match, "gpu" if search.on_gpu() else "cpu")

    def tables(self) -> None:
        """The vote of three backbones, and the final scores."""
        draw = runtime.generator("rates", "tables")
        candidates = np.unique(draw.integers(0, [1000, 12, 2000], (40_000, 3)), axis=0)
        files = []
        for backbone in range(3):
            query, part, reference = candidates[draw.permutation(len(candidates))[:20_000]].T
            table = pd.DataFrame(
                {
                    "model": f"family.backbone{backbone}",
                    "scale": np.int32(256),
                    "query_id": pd.Series(query).map("Q{:06d}".format),
                    "query_part": part.astype(np.int16),
                    "reference_id": pd.Series(reference).map("R{:06d}".format),
                    "reference_part": np.int16(0),
                    "score": draw.normal(0, 0.2, len(query)).astype(np.float32),
                }
            )
            files.append(self.folder / f"{backbone}.parquet")
            ensembling.write_pairs(files[-1], table)
        rows = 20_000 * len(files)
        self.found["row_bytes"] = round(sum(file.stat().st_size for file in files) / rows, 1)
        voted = ensembling.vote(ensembling.read_pairs(files), 2)

        def vote() -> float:
            ensembling.write_pairs(self.folder / "voted.parquet", ensembling.vote(ensembling.read_pairs(files), 2))
            return rows

        def combine() -> float:
            scored = ensembling.final_scores(ensembling.stack([voted]), self.config["ensembling"]["final_score"])
            ensembling.cut(scored, self.config["ensembling"]["rows_per_query"], 1000)
            return len(voted)

        self.take("vote", "rows voted on", vote)
        self.take("combine", "rows combined", combine)

    # Verification

    def verification(self) -> None:
        """Local features, their index, neighbours in it, and pairs of pictures that have little in common."""
        section = self.config["verification"]
        settings = FeatureSettings(**section["features"])
        described = [extract(picture, settings) for picture in self.decoded]

        def describe() -> float:
            extract(self.decoded[self.next()], settings)
            return 1

        self.take("local_features", "pictures described by local features", describe)
        draw = runtime.generator("rates", "verification")
        keypoints = draw.integers(0, 100, (20_000, DIMENSIONS), dtype=np.uint8)
        lists = section["index"] | {"lists": 64, "probes": 8}

        def index(kind: str) -> Any:
            shape = IndexSettings(kind, lists["lists"], lists["probes"], lists["code_bytes"])  # type: ignore[arg-type]
            return descriptor_index.build(lambda: [(keypoints, np.zeros(len(keypoints), np.int64))], shape)

        def assign() -> float:
            index("ivf_sq8")
            return bill.indexing_multiply_adds(len(keypoints), lists | {"kind": "ivf_sq8"})

        self.take("assign", "multiply-adds", assign)
        built, wanted = index(lists["kind"]), keypoints[:400]

        def search_keypoints() -> float:
            descriptor_index.search(built, wanted, section["search"]["neighbours"])
            return len(wanted) * len(keypoints) * bill.searched(len(keypoints), lists)

        self.take("neighbours", "distances of local features", search_keypoints)
        queries = [prepare_query(f, np.full((2, len(f.descriptors)), 1e5)) for f in described]

        def verify_pair() -> float:
            i = self.next()
            verify(queries[i], described[i], described[i - 1])
            return 1

        self.take("verify", "pairs verified", verify_pair)


def _megapixels(picture: np.ndarray) -> float:
    return picture.shape[0] * picture.shape[1] / 1e6


def _readable(source: str) -> list[str]:
    """Up to `PICTURES` pictures of a folder or list file that can be read, spread over it; none if none can."""
    try:
        listing, _ = list_pictures(folders.expanded(source))
    except InputError:
        return []
    readable = []
    for position in spread(len(listing), PICTURES):
        try:
            load_image(listing["path"].iloc[position])
        except UnreadableImage:
            continue
        readable.append(str(listing["path"].iloc[position]))
    return readable
