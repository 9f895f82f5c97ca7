"""A sheet of synthesised pictures: what the models of a family are trained on, for a person to look at."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont

from copytrace.figures import spread
from copytrace.synthesis.tarset import TrainingSet

WIDTH = 1000  # pixels that the sheet stays within
LARGEST_CELL = 150
MARGIN, GAP, HEADING = 90, 6, 30


def synthesis_sheet(pictures: TrainingSet, classes: int, copies: int) -> Image.Image:
    """A row per class, the picture itself first and its edited copies after it.

    Args:
        pictures: the training set of a family.
        classes: rows at most; the classes are spread evenly over the set.
        copies: edited copies per row at most, the first of each class.

    Returns:
        RGB, at most `WIDTH` pixels wide.
    """
    shown = pictures.classes[spread(len(pictures.classes), classes)]
    rows = [pictures.copies_of(class_id)[: copies + 1] for class_id in shown]
    columns = max(map(len, rows))
    side = min(LARGEST_CELL, (WIDTH - MARGIN) // columns - GAP)
    sheet = Image.new("RGB", (MARGIN + columns * (side + GAP), HEADING + len(rows) * (side + GAP)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column in range(columns):
        heading = f"copy {column}" if column else "picture"
        pen.text((MARGIN + column * (side + GAP) + side / 2, HEADING / 2), heading, "black", font, anchor="mm")
    for line, (class_id, members) in enumerate(zip(shown, rows)):
        top = HEADING + line * (side + GAP)
        pen.text((MARGIN - GAP - 4, top + side / 2), f"class {class_id}", "black", font, anchor="rm")
        for column, member in enumerate(members):
            picture = Image.open(io.BytesIO(pictures.read(member))).convert("RGB")
            sheet.paste(picture.resize((side, side), Image.Resampling.LANCZOS), (MARGIN + column * (side + GAP), top))
    return sheet
