"""Find pasted pictures and emoji in one shard of queries, as boxes in the pixels of the queries."""

import json

import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset

from copytrace import runtime
from copytrace.detection import letterbox
from copytrace.detection.network import DetectingSettings, Detections, detect, load_detector
from copytrace.detection.tables import detections_table
from copytrace.devices import keep_freed_memory, pick_device
from copytrace.imaging import load_image
from copytrace.sharding import shard_bounds


class Canvases(Dataset):
    """The pictures of a list of paths on the detector's canvas: uint8 [side, side, 3]."""

    def __init__(self, paths: list[str], side: int):
        self.paths, self.side = paths, side

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> torch.Tensor:
        return torch.from_numpy(letterbox.on_canvas(load_image(self.paths[i]), self.side))


def main() -> None:
    """Read the arguments, look at every picture, write one table."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--queries", required=True, help="manifest of the queries")
    parser.add_input("--detector", required=True, help="weights")
    parser.add_argument("--detecting", required=True, type=json.loads, help="keys of the section detection")
    parser.add_argument("--shard", required=True, type=int)
    parser.add_argument("--shards", required=True, type=int)
    parser.add_argument("--execution", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True)
    args = parser.parse()
    runtime.set_threads(args.threads)
    keep_freed_memory()
    manifest = pd.read_parquet(args.queries)
    start, stop = shard_bounds(len(manifest), args.shard, args.shards)
    queries = manifest.iloc[start:stop]
    settings = DetectingSettings(**args.detecting)
    detector, side = load_detector(args.detector, settings)
    detector.to(pick_device()).to(memory_format=torch.channels_last)

    pictures = Canvases(list(queries["path"]), side)
    loader = DataLoader(pictures, settings.batch, num_workers=args.execution["workers"])
    found: list[Detections] = []
    with runtime.Throughput("queries", args.threads, total=len(queries)) as done:
        for canvases in loader:
            sizes = queries.iloc[len(found) : len(found) + len(canvases)]
            found += detect(detector, canvases, list(zip(sizes["width"], sizes["height"])), settings)
            done.add(len(canvases))
    table = detections_table(found, queries["image_id"])
    overlays = table[table["class"] == "overlay"]
    runtime.log.info(
        "%d boxes, %d of them overlays in %d queries", len(table), len(overlays), overlays.image_id.nunique()
    )
    with runtime.atomic_output(args.output) as temporary:
        table.to_parquet(temporary, index=False)


if __name__ == "__main__":
    runtime.run(main)
