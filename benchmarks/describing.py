"""Describing parts beside the bare networks: what share of their rate is left, and how much goes into loading.

The bare networks run over the same batches, which lie in memory as network input; their descriptors must equal those of
`describe`. Two runs of the same differ, on a busy machine by much; steadier is the share of its own processor time that
`describe` spends inside the networks. That time counts all processes, those that load pictures (`--workers`), too.
Takes a folder of pictures; without one, scenes of the built-in sample, drawn and written as its JPEGs.
"""

import side_by_side  # first: it sets the threads and finds the library

# isort: split

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
import yaml

from copytrace import descriptors, imaging, manifests, proposals, runtime
from copytrace.devices import choose_precision, pick_device
from copytrace.networks.model import CopyModel
from copytrace.networks.registry import create_backbone
from copytrace.networks.weights import load_backbone_weights
from copytrace.parts import fixed_query_parts, parts_table, proposed_parts, whole_pictures
from copytrace.preprocessing import Preprocessing, to_network_input
from copytrace.sample import queries, scenes
from copytrace.whitening import Whitening

REPOSITORY = Path(__file__).resolve().parent.parent

Described = dict[tuple[str, int], np.ndarray]


def main() -> None:
    """Read the arguments, draw pictures if none are given, describe queries and references in both ways."""
    config = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    sample = [config["backbone_table"][name]["network"] for name in config["backbones"]]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="folder of pictures; not given: the sample's scenes")
    parser.add_argument("--side", type=int, default=config["sample"]["side"], help="longer side of drawn scenes")
    parser.add_argument("--count", type=int, default=60, help="pictures, at most")
    parser.add_argument(
        "--networks", nargs="+", default=sample, help="described with in one job; default: the sample's"
    )
    parser.add_argument("--weights", type=json.loads, default={"source": "none"}, help="as a row of backbone_table has")
    parser.add_argument("--scales", type=int, nargs="+", default=config["scales"])
    parser.add_argument("--batch", type=int, default=config["descriptors"]["batch"])
    parser.add_argument("--roles", nargs="+", choices=["queries", "references"], default=["queries", "references"])
    parser.add_argument("--precision", default=config["descriptors"]["precision"])
    parser.add_argument("--workers", type=int, default=config["execution"]["workers"])
    parser.add_argument("--minimum", type=float, default=0.0, help="share of the networks' rate; less: exit status 1")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    runtime.set_threads(side_by_side.THREADS)
    with tempfile.TemporaryDirectory() as folder:
        if args.pictures:
            paths = manifests.list_pictures(args.pictures)[0]["path"].tolist()[: args.count]
        else:
            paths = draw(args.count, args.side, Path(folder))
        pictures, tables = lay_out(paths, config["parts"])
        describing = Describing(args, pictures, config["whitening"]["dimensions"])
        print(
            f"{len(paths)} pictures, {pictures['width'].mean():.0f} × {pictures['height'].mean():.0f} in the mean; "
            f"{', '.join(args.networks)} at {', '.join(map(str, args.scales))} pixels, "
            f"{choose_precision(args.precision)}, {args.batch} parts at once, {args.workers} workers\n"
            f"{side_by_side.processor()}; {args.repeats} rounds; median (smallest to largest)\n"
        )
        passed = [describing.measure(role, tables[role], args.repeats, args.minimum) for role in args.roles]
    sys.exit(not all(passed))


def draw(count: int, side: int, folder: Path) -> list[str]:
    """Write scenes of the sample as JPEGs: their paths."""
    paths = [f"{folder}/{index}.jpg" for index in range(count)]
    for index, path in enumerate(paths):
        queries.save(scenes.render(scenes.scene(0, "references", index), side), Path(path))
    return paths


def lay_out(paths: list[str], section: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """The pictures' manifest, and their parts as queries (by the configuration's `parts`) and as references."""
    decoded = [imaging.load_image(path) for path in paths]
    height, width = np.array([picture.shape[:2] for picture in decoded]).T
    pictures = pd.DataFrame({"image_id": paths, "path": paths, "width": width, "height": height})
    settings = proposals.SearchSettings.from_table(section["selective_search"])
    boxes, scores = zip(*(proposals.propose(picture, settings) for picture in decoded))
    fixed = fixed_query_parts(width, height, section["kinds"])
    found = proposed_parts(boxes, scores, "selective_search")
    as_queries = parts_table([fixed, found], pictures["image_id"], section["kinds"])
    return pictures, {"queries": as_queries, "references": whole_pictures(pictures)}


class Describing:
    """The stages of describing the same pictures with the same networks."""

    def __init__(self, args: argparse.Namespace, pictures: pd.DataFrame, dimensions: int):
        self.pictures, self.scales, self.workers = pictures, args.scales, args.workers
        self.settings = descriptors.DescriptorSettings("feature", "published", args.precision, args.batch)
        self.models = [make_model(network, args.weights) for network in args.networks]
        self.variants = [(Preprocessing(), scale) for scale in args.scales]
        self.in_networks = 0.0
        self.finishing = {
            (model.name, scale): make_whitening(model.network.dimensions("feature"), dimensions).apply
            for model in self.models
            for scale in args.scales
        }

    def measure(self, role: str, parts: pd.DataFrame, repeats: int, minimum: float) -> bool:
        """Print the rates of all stages; whether descriptors are equal and `describe` reaches the minimum.

        A first round, in which the descriptors are compared, is not timed; every second one has the reverse order.
        """
        inputs = [
            [to_network_input(pixels, pick_device()) for pixels in batch]
            for batch in descriptors.load_parts(self.pictures, parts, self.variants, self.settings.batch)
        ]
        stages: dict[str, Callable[[], object]] = {
            "decoding": self.decode,
            "decoding, cutting, resizing": lambda: self.load(parts),
            "networks alone": lambda: self.run_networks(inputs),
            "describe": lambda: self.describe(parts),
        }
        within = []  # the same process under the same load: steadier than the ratio of two runs
        described = self.describe(parts)
        expected = self.finish(self.run_networks(inputs))
        equal = all(np.array_equal(described[key], expected[key]) for key in expected)
        taken: dict[str, list[np.ndarray]] = {name: [] for name in stages}
        for repeat in range(repeats):
            for name in list(stages)[:: -1 if repeat % 2 else 1]:
                started = clocks()
                self.in_networks = 0.0
                stages[name]()
                taken[name].append(clocks() - started)
                if name == "describe":
                    within.append(self.in_networks / taken[name][-1][0])
        seconds = {name: np.array(rounds).T for name, rounds in taken.items()}
        ratios = seconds["networks alone"] / seconds["describe"]
        report(role, parts, len(parts) * len(self.models) * len(self.scales), seconds, equal)
        by_processor, by_clock = (side_by_side.spread(list(values)) for values in ratios)
        print(f"\nrate of describe ÷ networks alone: {by_processor} of processor time, {by_clock} by the clock")
        print(f"share of describe's processor time inside the networks: {side_by_side.spread(within)}\n", flush=True)
        return equal and float(np.median(ratios[0])) >= minimum

    def decode(self) -> None:
        """Each picture once."""
        for path in self.pictures["path"]:
            imaging.load_image(path)

    def load(self, parts: pd.DataFrame) -> None:
        """All that stands before the network input."""
        for _ in descriptors.load_parts(self.pictures, parts, self.variants, self.settings.batch, self.workers):
            pass

    def run_networks(self, inputs: list[list[torch.Tensor]]) -> dict[tuple[str, int], list[np.ndarray]]:
        """Raw descriptors of batches, each a list of network inputs by scale."""
        raw: dict[tuple[str, int], list[np.ndarray]] = {key: [] for key in self.finishing}
        for batch in inputs:
            for scale, network_input in zip(self.scales, batch):
                for model in self.models:
                    vectors = descriptors.forward(model.network, network_input, self.settings)
                    raw[model.name, scale].append(vectors)
        return raw

    def finish(self, raw: Mapping[tuple[str, int], list[np.ndarray]]) -> Described:
        """Whitened descriptors of all batches."""
        return {key: np.concatenate([self.finishing[key](batch) for batch in batches]) for key, batches in raw.items()}

    def describe(self, parts: pd.DataFrame) -> Described:
        """As the rule of that name; processor time in its forward passes is added to `in_networks`."""
        forward = descriptors.forward

        def timed(*arguments: Any) -> np.ndarray:
            started = time.process_time()
            vectors = forward(*arguments)
            self.in_networks += time.process_time() - started
            return vectors

        how = self.settings, side_by_side.THREADS, self.workers, self.finishing
        with patch.object(descriptors, "forward", timed):
            return descriptors.describe(self.pictures, parts, self.models, self.scales, *how)


def make_model(network: str, weights: dict[str, Any]) -> descriptors.LoadedModel:
    """A network with weights of that source, or drawn ones."""
    backbone = create_backbone(network)
    load_backbone_weights(backbone, {"seed": ["describing", network], **weights})
    return descriptors.LoadedModel(network, CopyModel(backbone).eval(), Preprocessing(), "", "")


def make_whitening(width: int, dimensions: int) -> Whitening:
    """A drawn rotation to at most `dimensions` axes: as much work as a fitted whitening."""
    axes, _ = np.linalg.qr(runtime.generator("describing", width).normal(size=(width, width)))
    return Whitening(np.zeros(width, np.float32), axes[:, :dimensions].astype(np.float32))


def clocks() -> np.ndarray:
    """Seconds of the processor, of this process and those that have ended for it, and of the clock."""
    processes = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return np.array([sum(one.ru_utime + one.ru_stime for one in processes), time.perf_counter()])


def report(role: str, parts: pd.DataFrame, forwards: int, seconds: Mapping[str, np.ndarray], equal: bool) -> None:
    """Print one row for each stage; `seconds` [2, rounds] of the processor and by the clock."""
    print(f"{role}: {len(parts):,} parts, {forwards:,} forward passes\n")
    print("| stage | forward passes/s of processor time | by the clock | share of describe's processor time | result |")
    print("|---|---|---|---|---|")
    for name, (processor, clock) in seconds.items():
        rates = [side_by_side.spread(list(forwards / taken)) for taken in (processor, clock)]
        share = "" if name == "describe" else side_by_side.spread(list(processor / seconds["describe"][0]))
        result = ("equal" if equal else "DIFFERENT") if name == "networks alone" else ""
        print(f"| {name} | {' | '.join(rates)} | {share} | {result} |")


if __name__ == "__main__":
    main()
