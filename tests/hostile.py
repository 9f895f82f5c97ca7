"""A folder of everything that a stranger's disk may hold under a picture's name, with what must become of each file.

Every file that is used has content of its own: a mosaic of squares whose colours its path determines.
"""

from __future__ import annotations

import io
import os
import socket
import struct
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

SQUARE = 8  # pixels; a JPEG's blocks are as large, so that it loses little
ORIENTATION_TAG = 0x0112
SIDE_OF_BOMB = 10_100  # 102 million pixels, just above the loader's limit

#: Mean differences (of 255) that lossy formats cause: those of full colour resolution, and those that halve it and
#: so blur the squares' edges. Two mosaics differ by 85.
LOSSY, HALVED = 4, 10

#: How a scene has to be stored so that each EXIF orientation turns it upright (EXIF 2.32, tag 274: for 6, for
#: example, the stored row 0 is the scene's right side and column 0 its top).
STORED = {
    1: lambda scene: scene,
    2: lambda scene: scene[:, ::-1],
    3: lambda scene: scene[::-1, ::-1],
    4: lambda scene: scene[::-1],
    5: lambda scene: scene.swapaxes(0, 1),
    6: lambda scene: np.rot90(scene, 1),
    7: lambda scene: scene[::-1, ::-1].swapaxes(0, 1),
    8: lambda scene: np.rot90(scene, -1),
}


def mosaic(name: str, rows: int = 8, columns: int = 10) -> np.ndarray:
    """Squares of random colours, uint8 [rows * SQUARE, columns * SQUARE, 3]; the name is the seed."""
    colours = np.random.default_rng(zlib.crc32(os.fsencode(name))).integers(0, 256, (rows, columns, 3))
    return colours.astype(np.uint8).repeat(SQUARE, 0).repeat(SQUARE, 1)


def encode(picture: np.ndarray | Image.Image, kind: str, frames: int = 1, **options: object) -> bytes:
    """The bytes of a picture file; further frames or pages are turned copies of the first."""
    picture = (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).copy()
    if frames > 1:
        options |= {"save_all": True, "append_images": [picture.rotate(90 * i) for i in range(1, frames)]}
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, data: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG whose header says what one likes; `data` is compressed."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff(data: bytes, **tags: int) -> bytes:
    """A TIFF of one strip or tile, `data`; tags are given as t256=width and so on, all of one value."""
    entries = {int(name[1:]): value for name, value in tags.items()}
    start = 8 + 2 + 12 * len(entries) + 4
    entries = {tag: start if tag in (273, 324) else value for tag, value in sorted(entries.items())}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + data


def zeros(count: int) -> bytes:
    """Zlib's form of so many zeros."""
    packer, block = zlib.compressobj(1), bytes(1 << 24)
    pieces = [packer.compress(block[: min(len(block), count - i)]) for i in range(0, count, len(block))]
    return b"".join(pieces) + packer.flush()


def exif(orientation: int, filling: int = 0) -> bytes:
    """An EXIF block, with a maker's note of `filling` bytes."""
    block = Image.Exif()
    block[ORIENTATION_TAG] = orientation
    if filling:
        block.get_ifd(0x8769)[0x927C] = bytes(filling)
    return block.tobytes()


@dataclass
class Folder:
    """Where the files are, and what is expected of them, by their path in the folder."""

    path: Path
    #: The pixels of what is used, uint8 [height, width, 3], and how far the mean difference from them may go.
    used: dict[str, tuple[np.ndarray, float]] = field(default_factory=dict)
    #: A regular expression that the reason matches.
    rejected: dict[str, str] = field(default_factory=dict)
    #: Neither used nor rejected: no picture's ending, or hidden.
    ignored: list[str] = field(default_factory=list)

    def use(self, name: str, data: bytes, pixels: np.ndarray, tolerance: float = 0) -> None:
        """A file that has to be read as `pixels`."""
        self.write(name, data)
        self.used[name] = (pixels if pixels.ndim == 3 else np.stack([pixels] * 3, axis=2), tolerance)

    def reject(self, name: str, data: bytes, reason: str) -> None:
        """A file that has to be rejected for a reason like this."""
        self.write(name, data)
        self.rejected[name] = reason

    def ignore(self, name: str, data: bytes) -> None:
        """A file that has nothing to do with pictures, or is hidden."""
        self.write(name, data)
        self.ignored.append(name)

    def write(self, name: str, data: bytes) -> None:
        """Write a file and the folders above it."""
        place = self.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def build(path: Path) -> Folder:
    """Fill `path` with all of it."""
    folder = Folder(path)
    for add in (add_formats, add_depths, add_orientations, add_metadata, add_shapes, add_names):
        add(folder)
    for add in (add_broken, add_mislabelled, add_declared_bombs, add_bombs, add_no_files):
        add(folder)
    return folder


def add_formats(folder: Folder) -> None:
    """What each format has of variants; first frames and first pages."""

    def add(name: str, kind: str, tolerance: float = 0, mode: str = "RGB", **options: object) -> None:
        name = f"formats/{name}"
        picture = Image.fromarray(mosaic(name)).convert(mode)
        folder.use(name, encode(picture, kind, **options), np.asarray(picture.convert("RGB")), tolerance)

    add("plain.jpg", "JPEG", HALVED, quality=90)
    add("progressive.jpeg", "JPEG", HALVED, quality=90, progressive=True)
    add("restarts.JPG", "JPEG", HALVED, quality=90, restart_marker_rows=1)
    add("grey.jfif", "JPEG", LOSSY, mode="L", quality=90)
    add("cmyk.jpg", "JPEG", LOSSY, mode="CMYK", quality=95)  # Pillow writes inverted inks and says so, like Adobe
    add("several.mpo", "MPO", HALVED, frames=3, quality=90)
    add("several.jpe", "MPO", HALVED, frames=3, quality=90)
    add("plain.png", "PNG")
    add("animated.png", "PNG", frames=3)
    add("palette.png", "PNG", mode="P")
    add("plain.gif", "GIF", mode="P")
    add("animated.gif", "GIF", mode="P", frames=3)
    add("lossy.webp", "WEBP", HALVED, quality=90)
    add("lossless.webp", "WEBP", lossless=True)
    add("animated.webp", "WEBP", frames=3, lossless=True)
    add("lossy.avif", "AVIF", HALVED, quality=90)
    add("plain.jp2", "JPEG2000")
    add("stream.j2k", "JPEG2000", no_jp2=True)
    add("plain.bmp", "BMP")
    add("palette.bmp", "BMP", mode="P")
    add("plain.tif", "TIFF")
    add("pages.tiff", "TIFF", frames=3, compression="tiff_lzw")
    add("cmyk.tif", "TIFF", mode="CMYK")
    add("tiles.tif", "TIFF", compression="tiff_lzw", tiffinfo={322: 32, 323: 32})
    add("large offsets.tif", "TIFF", big_tiff=True)
    add("jpeg inside.tif", "TIFF", LOSSY, compression="jpeg", quality=95)

    # The inks of a JPEG are taken for inverted, with or without Adobe's mark: as browsers do.
    with_mark = (folder.path / "formats/cmyk.jpg").read_bytes()
    start = with_mark.index(b"\xff\xee")
    end = start + 2 + int.from_bytes(with_mark[start + 2 : start + 4], "big")
    pixels, tolerance = folder.used["formats/cmyk.jpg"]
    folder.use("formats/cmyk unmarked.jpg", with_mark[:start] + with_mark[end:], pixels, tolerance)

    # Bitmaps that Pillow does not write: first row on top, the header of OS/2, run lengths.
    name = "formats/top down.bmp"
    pixels = mosaic(name)
    height, width = pixels.shape[:2]
    head = struct.pack("<IiiHHIIiiII", 40, width, -height, 1, 24, 0, 0, 0, 0, 0, 0)
    bgr = pixels[:, :, ::-1].tobytes()  # rows of 240 bytes: a multiple of four already
    folder.use(name, b"BM" + struct.pack("<IHHI", 54 + len(bgr), 0, 0, 54) + head + bgr, pixels)
    name = "formats/os2.bmp"
    pixels = mosaic(name)
    head = struct.pack("<IHHHH", 12, width, height, 1, 24)
    bgr = pixels[::-1, :, ::-1].tobytes()
    folder.use(name, b"BM" + struct.pack("<IHHI", 26 + len(bgr), 0, 0, 26) + head + bgr, pixels)
    indices = np.arange(64).reshape(8, 8).repeat(SQUARE, 0).repeat(SQUARE, 1).astype(np.uint8)
    colours = np.random.default_rng(8).integers(0, 256, (64, 3)).astype(np.uint8)
    runs = b"".join(b"".join(bytes([SQUARE, row[i]]) for i in range(0, 64, SQUARE)) + b"\0\0" for row in indices[::-1])
    head = struct.pack("<IiiHHIIiiII", 40, 64, 64, 1, 8, 1, len(runs), 0, 0, 64, 0)
    palette = np.pad(colours[:, ::-1], ((0, 0), (0, 1))).tobytes()
    start = 54 + len(palette)
    data = b"BM" + struct.pack("<IHHI", start + len(runs) + 2, 0, 0, start) + head + palette + runs + b"\0\1"
    folder.use("formats/run lengths.bmp", data, colours[indices])


def add_depths(folder: Folder) -> None:
    """Channels and bits other than three of eight."""

    def scene(name: str) -> np.ndarray:
        return mosaic(f"depths/{name}")

    def add(name: str, data: bytes, pixels: np.ndarray) -> None:
        folder.use(f"depths/{name}", data, pixels)

    grey = scene("grey16.png")[:, :, 0]
    add("grey16.png", encode(grey.astype(np.uint16) * 257, "PNG"), grey)
    grey = scene("grey16.tif")[:, :, 0]
    add("grey16.tif", encode(grey.astype(np.uint16) * 257, "TIFF"), grey)
    colour = scene("colour16.png")
    height, width = colour.shape[:2]
    deep = colour.astype(">u2") * 256 + 99
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    add("colour16.png", png(width, height, zlib.compress(rows), depth=16), colour)
    colour = scene("colour16.tif")
    deep = (colour.astype(np.uint16) * 256 + 99).astype("<u2").tobytes()
    # 258, bits per sample, points to three numbers in larger files; one number stands for all samples.
    tags = {"t256": width, "t257": height, "t258": 16, "t259": 1, "t262": 2, "t277": 3, "t278": height}
    add("colour16.tif", tiff(deep, t273=0, t279=len(deep), **tags), colour)
    grey = scene("float.tif")[:, :, 0]
    add("float.tif", encode(np.float32(grey / 255), "TIFF"), grey)
    bits = scene("bits")[:, :, 0] > 127
    for ending, kind in (("png", "PNG"), ("bmp", "BMP"), ("tif", "TIFF")):
        bits = scene(f"bits.{ending}")[:, :, 0] > 127
        add(f"bits.{ending}", encode(Image.fromarray(bits), kind), np.uint8(bits * 255))

    # The left squares are transparent, and transparency lies on white.
    for name, kind, options in (
        ("alpha.png", "PNG", {}),
        ("alpha.tif", "TIFF", {}),
        ("alpha.webp", "WEBP", {"lossless": True, "exact": True}),
    ):
        colour = scene(name)
        alpha = np.full(colour.shape[:2], 255, np.uint8)
        alpha[:, :SQUARE] = 0
        shown = colour.copy()
        shown[:, :SQUARE] = 255
        add(name, encode(np.dstack([colour, alpha]), kind, **options), shown)
    grey = scene("grey alpha.png")[:, :, 0].copy()
    alpha = np.full_like(grey, 255)
    alpha[:, :SQUARE] = 0
    data = encode(Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]), "PNG")
    grey[:, :SQUARE] = 255
    add("grey alpha.png", data, grey)
    for name, kind in (("palette alpha.png", "PNG"), ("palette alpha.gif", "GIF")):
        palette = Image.fromarray(scene(name)).quantize(80)
        index = palette.getpixel((0, 0))
        shown = np.array(palette.convert("RGB"))
        shown[np.asarray(palette) == index] = 255
        add(name, encode(palette, kind, transparency=index), shown)


def add_orientations(folder: Folder) -> None:
    """One scene in all eight EXIF orientations, the same after turning."""
    scene = mosaic("orientations")
    for orientation, stored in STORED.items():
        for kind, tolerance, options in (
            ("JPEG", LOSSY, {"quality": 95, "subsampling": 0}),
            ("PNG", 0, {}),
            ("WEBP", 0, {"lossless": True}),
            ("TIFF", 0, {}),
        ):
            data = encode(np.ascontiguousarray(stored(scene)), kind, exif=exif(orientation), **options)
            folder.use(f"orientations/{kind.lower()} {orientation}.{kind.lower()}", data, scene, tolerance)


def add_metadata(folder: Folder) -> None:
    """Colour profiles and more EXIF and text than anybody needs."""

    def scene(name: str) -> np.ndarray:
        return mosaic(f"metadata/{name}")

    def with_chunk(name: str, kind: bytes, content: bytes) -> bytes:
        data = encode(scene(name), "PNG")
        return data[:33] + chunk(kind, content) + data[33:]

    for name, data, tolerance in (
        ("profile.jpg", encode(scene("profile.jpg"), "JPEG", quality=90, icc_profile=bytes(200_000)), HALVED),
        ("profile.png", encode(scene("profile.png"), "PNG", icc_profile=bytes(2_000_000)), 0),
        ("exif.jpg", encode(scene("exif.jpg"), "JPEG", quality=90, exif=exif(1, 60_000)), HALVED),
        ("exif.png", encode(scene("exif.png"), "PNG", exif=exif(1, 5_000_000)), 0),
        ("exif.webp", encode(scene("exif.webp"), "WEBP", lossless=True, exif=exif(1, 5_000_000)), 0),
        ("text.png", with_chunk("text.png", b"zTXt", b"text\0\0" + zeros(3_000_000)), 0),
        ("broken exif.png", encode(scene("broken exif.png"), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), 0),
    ):
        folder.use(f"metadata/{name}", data, scene(name), tolerance)
    # EXIF in many pieces, the first of which is what counts
    name = "metadata/pieces of exif.jpg"
    data = encode(mosaic(name), "JPEG", quality=90, exif=exif(1))
    end = 2 + 2 + int.from_bytes(data[4:6], "big")
    piece = b"\xff\xe1" + struct.pack(">H", 65_000) + b"Exif\0\0" + bytes(65_000 - 8)
    folder.use(name, data[:end] + piece * 30 + data[end:], mosaic(name), HALVED)
    bomb = with_chunk("text bomb.png", b"zTXt", b"text\0\0" + zeros(200_000_000))
    folder.reject("metadata/text bomb.png", bomb, "texts or colour profile")


def add_shapes(folder: Folder) -> None:
    """As small and as thin as a picture can be."""
    folder.use("shapes/one pixel.png", encode(np.uint8([[[10, 200, 30]]]), "PNG"), np.uint8([[[10, 200, 30]]]))
    folder.use("shapes/one pixel.gif", encode(np.uint8([[77]]), "GIF"), np.uint8([[77]]))
    line = np.random.default_rng(1).integers(0, 256, (1, 20_000, 3)).astype(np.uint8)
    folder.use("shapes/1 x 20000.png", encode(line.swapaxes(0, 1), "PNG"), line.swapaxes(0, 1))
    folder.use("shapes/20000 x 1.png", encode(line, "PNG"), line)


#: What names may contain. One accent is spelt both ways, as one character and as two.
NAMES = [
    *(
        "with space",
        " leading",
        "trailing ",
        'quo"te',
        "apo'strophe",
        "com,ma",
        "semi;colon&",
        "new\nline",
        "tab\there",
    ),
    *("-rf", "--help", "$HOME", "$(id)", "`id`", "{braces}", "{wildcards.role}", "%s 100%", "star*", "que?stion"),
    *("[brackets]", "back\\slash", "hash#", "~", "=1+1", "a:b", "tru|e", "<tag>", "\x1b[31mred", "line\u2028separator"),
    *("\u202eright to left", "日本", "\N{BALLOON}", "e\u0301", "\u00e9", "l" * 236),
    # what a reader of tables may take for a number or for nothing
    *("007", "1e5", "NA", "nan", "null", "None", "True", "0x10", "2024-01-01"),
]


def add_names(folder: Folder) -> None:
    """Names that hurt shells, tables and file systems; two files of one stem."""
    for name in NAMES:
        folder.use(f"{name}.png", encode(mosaic(name), "PNG"), mosaic(name))
    for name in ("stems/one/same.png", "stems/other/same.png", "stems/two.png", "stems/two.bmp", "stems/two.png.bmp"):
        folder.use(name, encode(mosaic(name), name.split(".")[-1].upper()), mosaic(name))
    picture = encode(mosaic("no name"), "PNG")
    folder.reject("carriage\rreturn.png", picture, "carriage return")
    folder.reject(os.fsdecode(b"caf\xe9.png"), picture, "not UTF-8")
    for name in (".hidden.png", ".hidden/picture.png", "picture", "picture.png.part", "notes.txt", "Thumbs.db", "png"):
        folder.ignore(name, picture)


def add_broken(folder: Folder) -> None:
    """Files that were pictures, or were to be."""
    scene = mosaic("broken")
    folder.reject("broken/empty.jpg", b"", "empty")
    folder.reject("broken/noise.jpg", np.random.default_rng(2).bytes(5000), "no picture")
    folder.reject("broken/beginning.jpg", b"\xff\xd8\xff", "no picture")
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JP2"):
        data = encode(scene, "JPEG2000" if kind == "JP2" else kind)
        folder.reject(f"broken/half.{kind.lower()}", data[: len(data) // 2], "truncated|cut off|ends early")
    data = bytearray(encode(scene, "PNG"))
    data[len(data) // 2] ^= 255
    folder.reject("broken/damaged.png", bytes(data), "damaged")
    folder.reject("broken/no width.png", png(0, 5, zlib.compress(b"")), "no picture")
    folder.reject("broken/no sides.gif", b"GIF89a" + bytes(7) + b";", "no picture")
    data = bytearray(encode(scene, "BMP"))
    data[18:26] = bytes(8)
    folder.reject("broken/no sides.bmp", bytes(data), "no picture")
    data = bytearray(encode(scene, "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 7] = b"\0\0"
    folder.reject("broken/no height.jpg", bytes(data), "no picture")


def add_mislabelled(folder: Folder) -> None:
    """Pictures of another format than their names say, and what is no picture at all."""
    for name, kind, tolerance in (("png.jpg", "PNG", 0), ("jpeg.png", "JPEG", HALVED), ("gif.webp", "PNG", 0)):
        name = f"mislabelled/{name}"
        folder.use(name, encode(mosaic(name), kind), mosaic(name), tolerance)
    for name, data in (
        ("text.png", b"just some text\n" * 50),
        ("page.jpg", b"<!DOCTYPE html><html><body>404 Not Found</body></html>"),
        ("drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"),
        ("program.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"),
        ("document.jpg", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n"),
        ("archive.png", b"PK\x03\x04" + bytes(200)),
        ("icon.png", encode(mosaic("icon"), "ICO")),
        ("layers.jpg", b"8BPS\0\1" + bytes(40)),
    ):
        folder.reject(f"mislabelled/{name}", data, "no picture")


def add_declared_bombs(folder: Folder) -> None:
    """Headers that promise far too much, with hardly anything behind them."""
    limit = "the limit is"
    scene = mosaic("declared")
    folder.reject("declared/picture.png", png(100_000, 100_000, zlib.compress(b"")), limit)
    for name, kind, at, form, sides in (
        ("picture.gif", "GIF", 6, "<HH", (65_535, 65_535)),
        ("picture.bmp", "BMP", 18, "<ii", (100_000, 100_000)),
        ("picture.jpg", "JPEG", None, ">HH", (65_500, 65_500)),
    ):
        data = bytearray(encode(scene, kind))
        at = data.index(b"\xff\xc0") + 5 if at is None else at
        data[at : at + struct.calcsize(form)] = struct.pack(form, *sides)
        folder.reject(f"declared/{name}", bytes(data), limit)
    tags = {"t258": 8, "t259": 8, "t262": 1, "t277": 1, "t273": 0, "t279": 9}
    folder.reject("declared/picture.tif", tiff(bytes(9), t256=100_000, t257=100_000, t278=100_000, **tags), limit)
    data = bytearray(encode(scene, "WEBP", frames=2))
    canvas = data.index(b"VP8X") + 12
    data[canvas : canvas + 6] = (16_382).to_bytes(3, "little") * 2
    folder.reject("declared/canvas.webp", bytes(data), limit)


def add_bombs(folder: Folder) -> None:
    """Small files that really hold what would fill the memory or take for ever."""
    side = SIDE_OF_BOMB
    data = zeros(side * (side + 1))
    folder.reject("bombs/picture.png", png(side, side, data, colour=0), "the limit is")
    tags = {"t256": side, "t257": side, "t258": 8, "t259": 8, "t262": 1, "t277": 1}
    folder.reject("bombs/strip.tif", tiff(data, t273=0, t278=side, t279=len(data), **tags), "the limit is")
    tags |= {"t256": 64, "t257": 64}
    tile = tiff(data, t322=side, t323=side, t324=0, t325=len(data), **tags)
    folder.reject("bombs/tile.tif", tile, "decoding 64 x 64 pixels from this TIFF file takes")
    folder.reject("bombs/picture.gif", encode(Image.new("P", (side, side)), "GIF"), "the limit is")
    wide = encode(Image.new("RGB", (16_383, 3_400)), "WEBP", lossless=True, method=0, quality=0)
    folder.reject("bombs/picture.webp", wide, "from this WEBP file takes")
    data = encode(mosaic("scans"), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    folder.reject("bombs/scans.jpg", data[:-2] + scan * 5000 + data[-2:], "more than 100 scans")
    hidden = (b"\xff\x01\xff\xff\0" + scan) * 5000
    folder.reject("bombs/hidden scans.jpg", data[:-2] + hidden + data[-2:], "more than 100 scans")


def add_no_files(folder: Folder) -> None:
    """Links, pipes, sockets, devices, folders with a picture's name, and files that may not be read."""
    place = folder.path / "no files"
    (place / "folder.jpg").mkdir(parents=True)
    folder.use("no files/folder.jpg/inside.png", encode(mosaic("inside"), "PNG"), mosaic("inside"))
    (place / "around").symlink_to("../no files")
    (place / "to the top").symlink_to(folder.path)
    (place / "link.png").symlink_to("folder.jpg/inside.png")
    folder.used["no files/link.png"] = folder.used["no files/folder.jpg/inside.png"]
    for name, target, reason in (
        ("one.png", "other.png", "levels of symbolic links"),
        ("other.png", "one.png", "levels of symbolic links"),
        ("itself.png", "itself.png", "levels of symbolic links"),
        ("nowhere.png", "missing.png", "No such file"),
        ("device.png", "/dev/zero", "not a file"),
    ):
        (place / name).symlink_to(target)
        folder.rejected[f"no files/{name}"] = reason
    os.mkfifo(place / "pipe.png")
    folder.rejected["no files/pipe.png"] = "not a file"
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as end:
        end.bind(f"{short}/socket")  # of a path of at most 108 bytes
        Path(short, "socket").replace(place / "socket.png")
    folder.rejected["no files/socket.png"] = "not a file"
    name = "no files/closed.png"
    if os.geteuid() == 0:  # who may read everything
        folder.use(name, encode(mosaic(name), "PNG"), mosaic(name))
    else:
        folder.reject(name, encode(mosaic(name), "PNG"), "Permission denied")
        (folder.path / name).chmod(0)
