"""Pictures of what people lay over other pictures: emoji and letters, for the background (section 6)."""

from __future__ import annotations

import string
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from copytrace.sample.edits import emoji_files

EMOJI_SIDE = 96  # pixels
PAGE_SIDE = 144
LETTER_SIZES = 16, 24  # pixels
LINE = 16  # letters

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def overlays() -> Iterator[NDArray[np.uint8]]:
    """AugLy's emoji on white, and letters and digits, dark on light and the reverse.

    uint8 RGB [height, width, 3], the same every time. Raises InputError if augly's emoji are not installed.
    """
    for path in emoji_files():
        with Image.open(path) as drawing:
            stamp = drawing.convert("RGBA").resize((EMOJI_SIDE, EMOJI_SIDE), Image.Resampling.BICUBIC)
        page = Image.new("RGB", (PAGE_SIDE, PAGE_SIDE), WHITE)
        page.paste(stamp, ((PAGE_SIDE - EMOJI_SIDE) // 2,) * 2, stamp)
        yield np.array(page)
    for size in LETTER_SIZES:
        for ink, ground in ((BLACK, WHITE), (WHITE, BLACK)):
            yield _letters(size, ink, ground)


def _letters(size: int, ink: tuple[int, int, int], ground: tuple[int, int, int]) -> NDArray[np.uint8]:
    """All letters and digits in Pillow's own font, in lines."""
    characters = string.ascii_letters + string.digits + "!?&"
    lines = [characters[start : start + LINE] for start in range(0, len(characters), LINE)]
    page = Image.new("RGB", (size * (LINE + 1), 2 * size * len(lines)), ground)
    text = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        text.text((size / 2, (2 * number + 0.4) * size), line, ink, ImageFont.load_default(size))
    return np.array(page)
