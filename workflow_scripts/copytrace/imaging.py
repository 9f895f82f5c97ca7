"""The one way from a file to pixels: every stage that needs a picture calls `load_image`.

What comes in is whatever lies on a disk: pictures from many cameras and programs, broken downloads, traps.
What comes out is always the same: upright RGB of 8 bits, or `UnreadableImage` with a reason to show.
"""

from __future__ import annotations

import ctypes
import errno
import io
import logging
import os
import re
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, ImageFile, PngImagePlugin
from PIL.TiffImagePlugin import TiffImageFile

#: Pictures with more pixels are rejected before anything is decoded.
MAX_PIXELS = 100_000_000

# What decoding one picture may take in bytes, its file included: 1 GB less the interpreter and its libraries.
MAX_MEMORY = 900_000_000

# Peak memory of decoding, conversion and turning in bytes per pixel, measured with pictures of 36 million
# pixels (16-bit, transparent, turned, in one strip: the worst of each format) and rounded up. Some libraries
# hold a picture more than once: WebP therefore ends at 53 million pixels.
DECODING_COST = {"AVIF": 16, "JPEG": 7, "JPEG2000": 24, "MPO": 7, "TIFF": 13, "WEBP": 17}
DEFAULT_COST = 7.5
SEVERAL_SCANS_COST = 10  # all coefficients of a progressive JPEG beside its pixels
CMYK_COST = 13

# What the decoders may read besides pixels: names, EXIF, colour profiles. Some hold it five times, and EXIF in
# many pieces costs time by the square of its size. WebP and AVIF are read whole to be opened.
MAX_METADATA = 64_000_000
STORED_PIXEL = 9  # bytes at most that a pixel takes in a file: four channels of 16 bits, and some filling

# A progressive JPEG has about ten scans; a few megabytes can hold enough of them to decode for days.
MAX_JPEG_SCANS = 100
NEXT_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # of those that a length follows

# Named, because some of Pillow's other formats start programs (EPS runs Ghostscript) or load files by name.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000")

ORIENTATION_TAG = 0x0112
TILE_TAGS = (0x0142, 0x0143)  # width and height of a TIFF's tiles
STRIP_PIXELS = 1_000_000  # pixels converted at a time, so that conversion never holds the picture twice

# `load_image` has its own limit, stricter and settable. Pillow's, which raises at twice this number, is for what it
# allocates while it opens a file (for a GIF's frame that is to be cleared): what no format could hold in MAX_MEMORY.
Image.MAX_IMAGE_PIXELS = int(MAX_MEMORY / min(DEFAULT_COST, *DECODING_COST.values())) // 2
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# The same for packed texts and colour profiles: one megabyte, as Pillow has it, is too little for some programs' files.
PngImagePlugin.MAX_TEXT_CHUNK = MAX_METADATA
# Pillow comments on odd metadata without naming the file; the pixels are what counts here.
logging.getLogger("PIL").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def _silence_libtiff() -> None:
    """Keep libtiff from writing to standard error: it names no file, and Pillow's exception says enough."""
    libraries = ctypes.CDLL(Image.core.__file__)  # with those that it was linked with
    for kind in ("Error", "Warning"):
        handler = getattr(libraries, f"TIFFSet{kind}Handler", None)
        if handler is not None:
            handler(None)


_silence_libtiff()


class UnreadableImage(Exception):
    """A file that is no usable picture; its text is one plain sentence that says why."""


class _SparingFile(io.BufferedReader):
    """A file of which a decoder may read so many bytes in all, `MAX_METADATA` until its pixels are known."""

    allowance = MAX_METADATA

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            size = max(0, os.fstat(self.fileno()).st_size - self.tell())
        if size > self.allowance:
            raise UnreadableImage(f"more than {MAX_METADATA:,} bytes would have to be read besides the pixels")
        data = super().read(size)
        self.allowance -= len(data)
        return data


def load_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a picture: uint8 [height, width, 3], RGB, C-contiguous, turned upright by its EXIF orientation.

    The content decides the format, not the name's ending. Of animations and multi-page files the first frame
    counts. Transparency lies on white; 16-bit greys v become v / 257; other deep greys are scaled as
    `_grey_range` says; CMYK is converted without colour profiles.

    Raises UnreadableImage for everything else: no regular file (a pipe or device is never waited for), empty,
    not a picture, truncated, a side of zero pixels, more than `max_pixels`, more memory needed than MAX_MEMORY or
    more to read than MAX_METADATA besides the pixels.
    """
    # Some packages switch this on for the whole process when imported (face_recognition does), and half a
    # picture is then silently grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    with _open_regular(path) as file:
        # Hostile bytes make Pillow raise nearly every type there is (SyntaxError, struct.error, KeyError):
        # whatever it is, this file is not a picture.
        try:
            pixels, orientation = _decode(file, max_pixels)
        except UnreadableImage:
            raise
        except Image.UnidentifiedImageError:
            raise UnreadableImage("the content is no picture in a known format, or is cut off") from None
        except Image.DecompressionBombError as error:
            count = int(re.findall(r"\d+", str(error))[0])
            raise UnreadableImage(f"the picture has {count:,} pixels, the limit is {max_pixels:,}") from None
        except Exception as error:
            raise UnreadableImage(_reason(error)) from None
    return turn_upright(pixels, orientation)


def _open_regular(path: str | Path) -> _SparingFile:
    """Open for reading, without ever waiting for the other end of a pipe."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise UnreadableImage("this is a folder, pipe or device, not a file")
        # Another process may have put a pipe in its place by now.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise UnreadableImage(_reason(error)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnreadableImage("this is a folder, pipe or device, not a file")
    return _SparingFile(io.FileIO(descriptor))


def _decode(file: _SparingFile, max_pixels: int) -> tuple[np.ndarray, int]:
    """Pixels as stored and their EXIF orientation; refuses by the header alone what is too large."""
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise UnreadableImage("the file is empty")
    if size > MAX_MEMORY:
        raise UnreadableImage(f"the file has {size:,} bytes, the limit for one picture is {MAX_MEMORY:,}")
    with Image.open(file, formats=FORMATS) as picture:
        is_jpeg = picture.format in ("JPEG", "MPO")
        data = os.pread(file.fileno(), size, 0) if is_jpeg else b""  # at once, for the faster decoder
        _check_size(picture, size, _count_scans(data), max_pixels)
        file.allowance += STORED_PIXEL * picture.width * picture.height
        if is_jpeg and picture.mode in ("L", "RGB"):
            pixels = _decode_jpeg(data, picture)
        else:
            picture.load()
            pixels = to_rgb(picture)
        # Asked after loading, because Pillow turns TIFF pictures itself and then drops the tag.
        return pixels, _orientation(picture)


def _count_scans(jpeg: bytes) -> int:
    """How many scans a JPEG has before its end, counted no further than one above the limit."""
    scans, position = 0, 2
    while scans <= MAX_JPEG_SCANS and (marker := NEXT_JPEG_MARKER.search(jpeg, position)):
        kind = jpeg[marker.end() - 1]
        if kind == 0xD9:  # end of image; a second picture or a film may follow
            break
        scans += kind == 0xDA
        position = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    return scans


def _check_size(picture: Image.Image, file_size: int, scans: int, max_pixels: int) -> None:
    width, height = picture.size
    if width < 1 or height < 1:
        raise UnreadableImage(f"the picture is {width} x {height} pixels: one side is zero")
    if width * height > max_pixels:
        raise UnreadableImage(f"the picture is {width} x {height} pixels, the limit is {max_pixels:,} in all")
    if scans > MAX_JPEG_SCANS:
        raise UnreadableImage(f"the JPEG has more than {MAX_JPEG_SCANS} scans")
    cost = max(
        DECODING_COST.get(picture.format or "", DEFAULT_COST),
        SEVERAL_SCANS_COST if scans > 1 else 0,
        CMYK_COST if picture.mode == "CMYK" else 0,
    )
    # A tiled TIFF is decoded tile by tile, and a tile may be larger than the picture.
    tile = [picture.tag_v2.get(tag, 0) for tag in TILE_TAGS] if isinstance(picture, TiffImageFile) else [0, 0]
    needed = max(width * height, tile[0] * tile[1]) * cost + file_size
    if needed > MAX_MEMORY:
        raise UnreadableImage(
            f"decoding {width} x {height} pixels from this {picture.format} file takes about "
            f"{needed / 1e6:,.0f} MB of memory, the limit is {MAX_MEMORY / 1e6:,.0f} MB"
        )


def _decode_jpeg(data: bytes, picture: Image.Image) -> np.ndarray:
    """Decode to the same pixels as Pillow, in less time (benchmarks/decoding.py).

    Unlike Pillow it notices a file that ends early but correctly closed. Its other complaints, such as stray
    bytes between markers, are often harmless; of those Pillow is the judge.
    """
    try:
        return simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError as error:
        if "remature end" in str(error):
            raise UnreadableImage("the JPEG is truncated or damaged: its data ends early") from None
        picture.load()
        return to_rgb(picture)


def to_rgb(picture: Image.Image) -> np.ndarray:
    """Convert a loaded Pillow picture of any mode to uint8 [height, width, 3]; transparency lies on white."""
    width, height = picture.size
    pixels = np.empty((height, width, 3), np.uint8)
    deep = picture.mode in ("I", "F") or picture.mode.startswith("I;16")
    if deep:
        black, white = _grey_range(picture)
    for place, strip in _strips(picture):
        if deep:
            grey = (_grey_values(strip) - black) * (255 / (white - black))
            pixels[place] = np.rint(grey)[:, :, None]
            continue
        if picture.has_transparency_data:
            rgba = strip.convert("RGBA")
            strip = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        pixels[place] = np.asarray(strip.convert("RGB"))
    return pixels


def _strips(picture: Image.Image) -> Iterator[tuple[tuple[slice, slice], Image.Image]]:
    """Cut a picture across its longer side into (place, strip), so that nothing holds it twice in full."""
    width, height = picture.size
    step = max(1, STRIP_PIXELS // min(width, height))
    for start in range(0, max(width, height), step):
        stop = min(start + step, max(width, height))
        if width > height:
            yield np.s_[:, start:stop], picture.crop((start, 0, stop, height))
        else:
            yield np.s_[start:stop, :], picture.crop((0, start, width, stop))


def _grey_values(strip: Image.Image) -> np.ndarray:
    """The greys of a deep picture as float64 [height, width]; what is not finite becomes 0."""
    with np.errstate(invalid="ignore"):  # signalling not-a-numbers
        return np.nan_to_num(np.asarray(strip).astype(np.float64), nan=0, posinf=0, neginf=0)


def _grey_range(picture: Image.Image) -> tuple[float, float]:
    """The values of a deep grey picture that become black and white.

    16 bits without sign: 0 and 65,535. Otherwise white is the smallest of 1 (floats only), 255 and 65,535
    that covers all values. Negative or larger values have no agreed meaning: minimum and maximum are taken.
    """
    if picture.mode.startswith("I;16"):
        return 0, 65535
    values = (_grey_values(strip) for _, strip in _strips(picture))
    extremes = np.array([(strip.min(), strip.max()) for strip in values])
    low, high = float(extremes[:, 0].min()), float(extremes[:, 1].max())
    for white in (1, 255, 65535) if picture.mode == "F" else (255, 65535):
        if low >= 0 and high <= white:
            return 0, white
    return low, max(high, low + 1)


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; broken metadata counts as upright."""
    try:
        return int(picture.getexif().get(ORIENTATION_TAG, 1))
    except Exception:
        return 1


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation (1 to 8; others are taken as 1) of an array [height, width, channels]."""
    match orientation:
        case 2:
            pixels = pixels[:, ::-1]
        case 3:
            pixels = pixels[::-1, ::-1]
        case 4:
            pixels = pixels[::-1]
        case 5:
            pixels = pixels.swapaxes(0, 1)
        case 6:
            pixels = pixels.swapaxes(0, 1)[:, ::-1]
        case 7:
            pixels = pixels[::-1, ::-1].swapaxes(0, 1)
        case 8:
            pixels = pixels.swapaxes(0, 1)[::-1]
    return np.ascontiguousarray(pixels)


def _reason(error: Exception) -> str:
    """One short sentence about an error of the operating system or of a decoder."""
    if isinstance(error, MemoryError):
        return "the decoder asks for more memory than it may have"
    # "Invalid argument" is what seeking to a place before the file's start gives.
    if isinstance(error, OSError) and error.strerror and error.errno != errno.EINVAL:
        return f"the file cannot be read: {error.strerror}"
    text = " ".join(str(error).split())[:200] or type(error).__name__
    if "truncated" in text.lower():
        return "the file is truncated"
    if "MAX_TEXT" in text:  # Pillow's names for its limits
        return f"the texts or colour profile in the file have more than {MAX_METADATA:,} bytes"
    return f"the file is damaged or cut off: {text}"
