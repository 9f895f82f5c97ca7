"""A sheet of scenes for a person to look at: what was pasted, and what the detector found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from copytrace.detection.network import Detections
from copytrace.detection.scenes import CLASSES, Labelled

WIDTH = 1000  # pixels that the sheet stays within
COLUMNS = 4
GAP, LINE = 6, 20
LEAST = 0.3  # boxes of less confidence would hide the picture
TRUE, FOUND = "#00c853", "#ff1744"


def scene_sheet(
    scenes: Sequence[Labelled], found: Sequence[Detections], measured: Mapping[str, Mapping[str, Any]]
) -> Image.Image:
    """Scenes in rows of `COLUMNS`, true boxes green, found ones red with class and confidence; figures on top.

    Args:
        scenes: the scenes to show.
        found: for each of them, in its own pixels.
        measured: what `measures.measure` says of all scenes.
    """
    side = (WIDTH - GAP) // COLUMNS - GAP
    lines = [
        "green: what was pasted; red: what was found, with its confidence (from " + f"{LEAST} on)",
        *(_figures(name, of_class) for name, of_class in measured.items()),
    ]
    heading = GAP + LINE * len(lines)
    rows = -(-len(scenes) // COLUMNS)
    sheet = Image.new("RGB", (WIDTH, heading + GAP + rows * (side + GAP)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for number, line in enumerate(lines):
        pen.text((GAP, GAP + LINE * number), line, "black", font)
    for number, (scene, detections) in enumerate(zip(scenes, found, strict=True)):
        corner = GAP + number % COLUMNS * (side + GAP), heading + GAP + number // COLUMNS * (side + GAP)
        sheet.paste(_with_boxes(scene, detections, side), corner)
    return sheet


def _figures(name: str, measured: Mapping[str, Any]) -> str:
    """The line of one class."""
    if not measured["true"]:
        return f"{name}: none in any scene"
    texts = [
        f"{row['confidence']:g}: {row['precision']:.2f} / {row['recall']:.2f}"
        for row in measured["at"]
        if row["precision"] is not None
    ]
    figures = f"precision / recall from confidence {', '.join(texts)}" if texts else "nothing found"
    return f"{name}: {measured['true']} boxes, average precision {measured['average_precision']:.2f}; {figures}"


def _with_boxes(scene: Labelled, detections: Detections, side: int) -> Image.Image:
    """The scene within side × side, with the boxes."""
    height, width = scene.picture.shape[:2]
    scale = side / max(width, height)
    shown = Image.fromarray(scene.picture).resize((max(1, round(width * scale)), max(1, round(height * scale))))
    pen, font = ImageDraw.Draw(shown), ImageFont.load_default(12)
    for box in scene.boxes * scale:
        pen.rectangle(_outline(box), outline=TRUE, width=3)
    for box, label, confidence in zip(detections.boxes * scale, detections.labels, detections.confidences):
        if confidence < LEAST:
            continue
        pen.rectangle(_outline(box), outline=FOUND, width=1)
        text = f"{CLASSES[label]} {confidence:.2f}"
        place = box[0] + 2, box[1] + 1
        pen.rectangle(pen.textbbox(place, text, font), fill="white")
        pen.text(place, text, FOUND, font)
    return shown


def _outline(box: Any) -> tuple[float, float, float, float]:
    """A box with exclusive ends as Pillow draws it: through its outermost pixels."""
    x0, y0, x1, y1 = map(float, box)
    return x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)
