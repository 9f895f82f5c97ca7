"""Foreign pictures: what is pasted, blended or used as background in a copy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from numpy.random import Generator
from PIL import Image

from copytrace import imaging
from copytrace.errors import InputError


def load_rgb(path: str) -> Image.Image:
    """A picture from a file, upright RGB at its full size.

    Raises:
        InputError: it cannot be decoded.
    """
    try:
        return Image.fromarray(imaging.load_image(path))
    except imaging.UnreadableImage as failure:
        raise InputError(f"{path} could be read when the pictures were listed, but now {failure}.") from None


class ForeignPictures:
    """Draws pictures uniformly from a list of paths (T3 of the fact sheet)."""

    def __init__(self, paths: Sequence[str]):
        self.paths = paths
        self._positions = {path: position for position, path in enumerate(paths)}

    def without(self, source: str) -> Callable[[Generator], Image.Image]:
        """A function that draws one of the pictures, every one but `source` (a path) equally likely.

        Raises:
            InputError: there is no other.
        """
        own = self._positions.get(source, len(self.paths))
        choices = len(self.paths) - (own < len(self.paths))
        if choices == 0:
            raise InputError("images.backgrounds holds no picture besides the class's own: name a folder with more.")

        def draw(rng: Generator) -> Image.Image:
            position = int(rng.integers(choices))
            return load_rgb(self.paths[position + (position >= own)])

        return draw
