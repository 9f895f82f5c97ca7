"""Measure the overlay detector on held-out scenes, and draw some of them with true and found boxes."""

import json
from pathlib import Path

import pandas as pd
import torch

from copytrace import runtime
from copytrace.detection import letterbox, measures
from copytrace.detection.network import DetectingSettings, Detections, detect, load_detector
from copytrace.detection.scenes import Labelled, SceneSettings, training_and_held_out
from copytrace.detection.sheet import scene_sheet
from copytrace.devices import keep_freed_memory, pick_device


def main() -> None:
    """Read the arguments, draw the scenes, detect, measure, write."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--pictures", required=True, help="manifest of the pictures that scenes are made of")
    parser.add_input("--detector", required=True, help="weights")
    parser.add_argument("--detecting", required=True, type=json.loads, help="keys of the section detection")
    parser.add_argument("--scenes", required=True, type=json.loads, help="detection.scenes")
    parser.add_argument("--held-out", required=True, type=float, help="share of the pictures")
    parser.add_argument("--number", required=True, type=int, help="scenes")
    parser.add_argument("--shown", required=True, type=int, help="scenes on the sheet")
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--sheet", required=True, type=Path, help="JPEG")
    parser.add_output("--output", required=True, type=Path, help="JSON")
    args = parser.parse()
    runtime.set_threads(args.threads)
    keep_freed_memory()
    settings = DetectingSettings(**args.detecting)
    detector, side = load_detector(args.detector, settings)
    detector.to(pick_device()).to(memory_format=torch.channels_last)
    paths = pd.read_parquet(args.pictures, columns=["path"])["path"].tolist()
    _, render = training_and_held_out(paths, side, SceneSettings(**args.scenes), args.held_out, args.seed)

    truths: list[Labelled] = []
    found: list[Detections] = []
    with runtime.Throughput("scenes", args.threads, total=args.number) as done:
        for first in range(0, args.number, settings.batch):
            scenes = [render(number) for number in range(first, min(first + settings.batch, args.number))]
            canvases = torch.stack([torch.from_numpy(letterbox.on_canvas(scene.picture, side)) for scene in scenes])
            found += detect(detector, canvases, [scene.picture.shape[1::-1] for scene in scenes], settings)
            truths += scenes
            done.add(len(scenes))
    measured = measures.measure(found, truths, settings.confidence)
    result = {"scenes": args.number, "pictures": len(render.pictures.paths), "iou": measures.IOU, "classes": measured}
    with runtime.atomic_output(args.output) as temporary:
        temporary.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
    sheet = scene_sheet(truths[: args.shown], found[: args.shown], measured)
    with runtime.atomic_output(args.sheet) as temporary:
        sheet.save(temporary, "JPEG", quality=88)
    for name, of_class in measured.items():
        runtime.log.info("%s: %d boxes, average precision %s", name, of_class["true"], of_class["average_precision"])


if __name__ == "__main__":
    runtime.run(main)
