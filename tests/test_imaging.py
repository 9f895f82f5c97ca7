import io
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from copytrace import imaging
from copytrace.imaging import UnreadableImage, load_image

# Pillow grumbles about odd metadata; the loader mutes that, but pytest unmutes it.
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:PIL.TiffImagePlugin", "ignore::PIL.Image.DecompressionBombWarning"
)


def scene(height=60, width=90):
    """Smooth colours with an edge and some noise: every format has something to do."""
    y, x = np.mgrid[:height, :width]
    picture = np.stack([x * 255 // width, y * 255 // height, (x + y) * 3 % 256], axis=2)
    picture[height // 3 :, : width // 4] = (250, 20, 90)
    return np.clip(picture + np.random.default_rng(0).integers(-4, 5, picture.shape), 0, 255).astype(np.uint8)


def encode(picture, format, **options):
    buffer = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, rows=b"", depth=8, colour=2, extra=b""):
    """A PNG written by hand: whatever its header claims."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.fixture
def load(tmp_path):
    """Load bytes through a file whose name says nothing true about them."""

    def load_bytes(data, **options):
        path = tmp_path / "picture.jpg"
        path.write_bytes(data)
        return load_image(path, **options)

    return load_bytes


SMALL_FILES = {
    "jpeg": encode(scene(), "JPEG", quality=90),
    "progressive": encode(scene(), "JPEG", quality=90, progressive=True),
    "png": encode(scene(), "PNG"),
    "gif": encode(Image.fromarray(scene()).quantize(), "GIF"),
    "bmp": encode(scene(), "BMP"),
    "tiff": encode(scene(), "TIFF"),
    "tiff_lzw": encode(scene(), "TIFF", compression="tiff_lzw"),
    "webp": encode(scene(), "WEBP", lossless=True),
    "avif": encode(scene(), "AVIF"),
    "jpeg2000": encode(scene(), "JPEG2000"),
}


# What is read, and how


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "tiff_lzw", "webp", "jpeg2000"])
def test_lossless_formats_come_back_as_they_were_whatever_their_name(load, kind):
    pixels = load(SMALL_FILES[kind])
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    assert (pixels == scene()).all()


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 30},
        {"quality": 95, "subsampling": 0},
        {"quality": 80, "progressive": True},
        {"quality": 80, "restart_marker_rows": 1},
    ],
)
def test_jpegs_have_the_pixels_that_pillow_gives(load, options):
    for picture in (Image.fromarray(scene()), Image.fromarray(scene()).convert("L")):
        data = encode(picture, "JPEG", **options)
        assert (load(data) == np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).all()


@pytest.mark.parametrize("format, options", [("JPEG", {"quality": 95}), ("TIFF", {})])
def test_cmyk_is_not_inverted(load, format, options):
    data = encode(Image.fromarray(scene()).convert("CMYK"), format, **options)
    assert np.abs(load(data).astype(int) - scene()).mean() < 8


# EXIF 2.32, tag 274: which side of the scene the stored picture's row 0 and column 0 are.
ORIENTATIONS = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
SIDES = {"top": np.s_[0, 1:-1], "bottom": np.s_[-1, 1:-1], "left": np.s_[1:-1, 0], "right": np.s_[1:-1, -1]}


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_pictures_are_turned_upright(load, format, orientation):
    stored = np.full((10, 20, 3), 128, np.uint8)
    stored[0] = 255
    stored[:, 0] = 0
    exif = Image.Exif()
    exif[imaging.ORIENTATION_TAG] = orientation
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    upright = load(encode(stored, format, exif=exif.tobytes(), **lossless.get(format, {}))).astype(int)
    assert upright.shape == ((10, 20, 3) if orientation < 5 else (20, 10, 3))
    row, column = ORIENTATIONS[orientation]
    assert np.abs(upright[SIDES[row]] - 255).max() < 12
    assert upright[SIDES[column]].max() < 12


def test_a_broken_orientation_is_none(load):
    exif = Image.Exif()
    exif[imaging.ORIENTATION_TAG] = 77
    assert load(encode(scene(), "PNG", exif=exif.tobytes())).shape == scene().shape
    assert load(encode(scene(), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff junk")).shape == scene().shape


def test_sixteen_bit_greys_are_divided_by_257(load):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.floor(np.arange(65536) / 257 + 0.5).reshape(256, 256)
    assert (load(encode(values, "PNG")) == expected[:, :, None]).all()
    assert (load(encode(values, "TIFF")) == expected[:, :, None]).all()
    big_endian = Image.frombytes("I;16B", (256, 256), values.astype(">u2").tobytes())
    assert (load(encode(big_endian, "TIFF")) == expected[:, :, None]).all()


def test_sixteen_bit_colours_keep_their_high_byte(load):
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in scene().astype(np.uint16) * 256 + 99)
    assert (load(png(90, 60, rows, depth=16)) == scene()).all()


@pytest.mark.parametrize(
    "values, expected",
    [
        ([[0, 100, 255]], [0, 100, 255]),
        ([[0, 257, 65535]], [0, 1, 255]),
        ([[-1000, 0, 1000]], [0, 128, 255]),
        ([[0, 50_000, 100_000]], [0, 128, 255]),
        ([[70_000, 70_000, 70_000]], [0, 0, 0]),
        ([[0.0, 0.5, 1.0]], [0, 128, 255]),
        ([[0.0, 100.0, 200.0]], [0, 100, 200]),
        ([[np.nan, np.inf, 1.0]], [0, 0, 255]),
        ([np.array([0x7F800001, 0], np.uint32).view(np.float32)], [0, 0]),  # a signalling not-a-number
        ([[-3e38, 0.0, 3e38]], [0, 128, 255]),
    ],
)
def test_deeper_greys_are_scaled(load, values, expected):
    values = np.array(values)
    data = encode(values.astype(np.float32 if values.dtype.kind == "f" else np.int32), "TIFF")
    assert load(data)[0, :, 0].tolist() == expected


def test_transparency_lies_on_white(load):
    rgba = np.dstack([scene(), np.full((60, 90), 255, np.uint8)])
    rgba[:10, :, 3] = 0
    rgba[10:20, :, 3] = 51
    expected = scene().astype(float)
    expected[:10] = 255
    expected[10:20] = 0.2 * expected[10:20] + 0.8 * 255
    for format, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        assert np.abs(load(encode(rgba, format, **options)) - expected).max() <= 1
    grey = Image.fromarray(rgba).convert("LA")
    assert (load(encode(grey, "PNG"))[:10] == 255).all()


def test_transparent_colours_of_palette_and_grey_pictures(load):
    palette = Image.new("P", (4, 2), 1)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((0, 0), 0)
    for format in ("PNG", "GIF"):
        pixels = load(encode(palette, format, transparency=0))
        assert pixels[0, 0].tolist() == [255, 255, 255]
        assert pixels[1, 1].tolist() == [200, 100, 50]
    grey = Image.fromarray(np.array([[7, 8]], np.uint8))
    assert load(encode(grey, "PNG", transparency=7))[0].tolist() == [[255] * 3, [8] * 3]


def test_one_bit_pictures(load):
    picture = Image.fromarray(np.array([[0, 255, 255]], np.uint8)).convert("1")
    for format in ("PNG", "BMP", "TIFF"):
        assert load(encode(picture, format))[0, :, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_the_first_frame_counts(load, format):
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "lime", "blue")]
    pixels = load(encode(frames[0], format, save_all=True, append_images=frames[1:]))
    assert np.abs(pixels.astype(int) - (255, 0, 0)).max() <= 8


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000"])
def test_one_pixel(load, format):
    options = {"lossless": True} if format == "WEBP" else {}
    pixels = load(encode(Image.new("RGB", (1, 1), (200, 200, 200)), format, **options))
    assert pixels.shape == (1, 1, 3)
    assert np.abs(pixels.astype(int) - 200).max() <= 2


def test_strips_change_nothing(load, monkeypatch):
    tall, wide = np.dstack([scene(90, 40)] * 2)[:, :, :4], np.dstack([scene(40, 90)] * 2)[:, :, :4]
    whole = [load(encode(picture, "PNG")) for picture in (tall, wide)]
    monkeypatch.setattr(imaging, "STRIP_PIXELS", 333)
    for picture, expected in zip((tall, wide), whole):
        assert (load(encode(picture, "PNG")) == expected).all()


def test_harmless_flaws_of_a_jpeg_are_forgiven(load):
    plain = SMALL_FILES["jpeg"]
    expected = load(plain)
    assert (load(plain + b"\0" * 1000 + b"a film that follows the picture \xff\xda" * 200) == expected).all()
    end = plain.index(b"\xff\xdb")
    assert (load(plain[:end] + b"\x01\x02" + plain[end:]) == expected).all()  # stray bytes between segments


# What is rejected, and why


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", SMALL_FILES)
def test_cut_off_files_are_rejected(load, kind, share):
    data = SMALL_FILES[kind]
    with pytest.raises(UnreadableImage, match=r"truncated|cut off|ends early"):
        load(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["jpeg", "progressive"])
def test_a_cut_off_jpeg_that_is_closed_again_is_rejected(load, kind):
    data = SMALL_FILES[kind]
    with pytest.raises(UnreadableImage, match="ends early"):
        load(data[: len(data) * 2 // 3] + b"\xff\xd9")


@pytest.mark.parametrize("kind", ["png", "gif", "bmp", "jpeg"])
def test_another_packages_leniency_does_not_leak_in(load, kind, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(UnreadableImage):
        load(SMALL_FILES[kind][: len(SMALL_FILES[kind]) * 2 // 3])


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "empty"),
        (b"just some text", "no picture"),
        (b"\xff\xd8\xff", "no picture"),
        (b"\0" * 5000, "no picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n", "no picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "no picture"),
        (png(0, 5), "no picture"),
        (b"GIF89a" + struct.pack("<HH", 0, 0) + b"\0\0\0;", "zero|no picture|damaged"),
        (png(2**31 - 1, 2**31 - 1), "4,611,686,014,132,420,609 pixels, the limit is 100,000,000"),
        (png(10_001, 10_000), "10001 x 10000 pixels, the limit"),
        (png(100, 100, b"\0" * 500), "truncated"),
    ],
)
def test_no_pictures(load, data, reason):
    with pytest.raises(UnreadableImage, match=reason):
        load(data)


def test_a_jpeg_without_height(load):
    data = bytearray(SMALL_FILES["jpeg"])
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 7] = b"\0\0"
    with pytest.raises(UnreadableImage):
        load(bytes(data))


@pytest.fixture
def no_decoding(monkeypatch):
    """Every way from bytes to pixels fails with a text that no test expects."""

    def refuse(*_, **__):
        raise AssertionError("this picture was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    monkeypatch.setattr(imaging.simplejpeg, "decode_jpeg", refuse)


def test_a_real_bomb_is_not_decoded(load, no_decoding):
    squeezer, pieces = zlib.compressobj(9), []
    for _ in range(200):  # 200 million black pixels in 200 kB
        pieces.append(squeezer.compress(bytes(1_000_100)))
    data = b"".join([*pieces, squeezer.flush()])
    header = struct.pack(">IIBBBBB", 10_000, 20_002, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    assert len(bomb) < 300_000
    with pytest.raises(UnreadableImage, match="the limit is"):
        load(bomb)


def test_the_limit_of_pixels_is_a_parameter(load):
    assert load(SMALL_FILES["png"], max_pixels=60 * 90).shape == (60, 90, 3)
    with pytest.raises(UnreadableImage, match="90 x 60 pixels, the limit is 5,399"):
        load(SMALL_FILES["png"], max_pixels=60 * 90 - 1)


def test_formats_that_need_much_memory_have_a_lower_limit(load, monkeypatch):
    monkeypatch.setattr(imaging, "MAX_MEMORY", 60 * 90 * 12)
    load(SMALL_FILES["jpeg"])
    with pytest.raises(UnreadableImage, match="from this WEBP file takes about"):
        load(SMALL_FILES["webp"])


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "huge.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    os.truncate(path, 10**12)  # holds no blocks
    with pytest.raises(UnreadableImage, match="1,000,000,000,000 bytes"):
        load_image(path)


def test_a_jpeg_of_thousands_of_scans_is_not_decoded(load, no_decoding):
    data = SMALL_FILES["progressive"]
    start = data.rindex(b"\xff\xda")  # repeat the last, short scan
    scan = data[start:-2]
    with pytest.raises(UnreadableImage, match="more than 100 scans"):
        load(data[:-2] + scan * 5000 + data[-2:])


def test_scans_do_not_hide_behind_a_marker_without_length(load, no_decoding):
    """FF 01 stands alone; whoever takes what follows for its length leaps over a hundred scans."""
    data = SMALL_FILES["progressive"]
    scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(UnreadableImage, match="more than 100 scans"):
        load(data[:-2] + (b"\xff\x01\xff\xff\0" + scan) * 5000 + data[-2:])


def test_a_tile_larger_than_the_picture_counts(load, no_decoding):
    """A TIFF of 10 x 10 pixels whose only tile has 20,000 x 20,000: libtiff decodes the tile in full."""
    entries = {256: 10, 257: 10, 258: 8, 259: 8, 262: 1, 277: 1, 322: 20_000, 323: 20_000, 324: 200, 325: 400_000}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)
    with pytest.raises(UnreadableImage, match="decoding 10 x 10 pixels from this TIFF file takes about"):
        load(head.ljust(200, b"\0") + zlib.compress(bytes(20_000)))


def test_a_frame_to_be_cleared_is_not_allocated_before_its_size_is_known(load, monkeypatch):
    """A GIF's first frame larger than its screen: Pillow makes room for it while it opens the file."""
    data = bytearray(encode(Image.fromarray(scene()).quantize(), "GIF", disposal=2))
    frame = data.index(b"\x2c" + struct.pack("<HHHH", 0, 0, 90, 60))
    assert data[frame - 8 : frame - 4] == b"\x21\xf9\x04\x08"  # clear it afterwards
    data[frame + 5 : frame + 9] = struct.pack("<HH", 60_000, 60_000)

    def refuse(*_):
        raise AssertionError("room for the frame was made")

    monkeypatch.setattr(Image.core, "fill", refuse)
    with pytest.raises(UnreadableImage, match="3,600,000,000 pixels, the limit is 100,000,000"):
        load(bytes(data))


@pytest.mark.parametrize("kind", ["jpeg", "png", "late png", "gif", "tiff", "webp", "avif"])
def test_metadata_without_end_is_not_read(load, monkeypatch, kind):
    monkeypatch.setattr(imaging._SparingFile, "allowance", 50_000)
    picture, filler = Image.fromarray(scene()), b"II*\0\x08\0\0\0\0\0" + bytes(60_000)
    png_file = SMALL_FILES["png"]
    data = {
        "jpeg": lambda: encode(picture, "JPEG", exif=b"Exif\0\0" + filler),
        "png": lambda: png_file[:33] + chunk(b"eXIf", filler) + png_file[33:],
        "late png": lambda: png_file[:-12] + chunk(b"eXIf", filler * 2) + png_file[-12:],
        "gif": lambda: encode(picture.quantize(), "GIF", comment=filler),
        "tiff": lambda: encode(picture, "TIFF", tiffinfo={700: filler}),
        "webp": lambda: encode(picture, "WEBP", exif=b"Exif\0\0" + filler),
        "avif": lambda: encode(picture, "AVIF", exif=b"Exif\0\0" + filler),
    }[kind]()
    with pytest.raises(UnreadableImage, match="would have to be read besides the pixels"):
        load(data)
    load(SMALL_FILES[kind.split()[-1]])


def test_long_texts_and_colour_profiles_are_no_flaw(load):
    """Up to where they are a bomb; one megabyte, as Pillow has it, is less than some programs write."""
    data = SMALL_FILES["png"]
    for kind, size, sound in ((b"zTXt", 5, True), (b"iCCP", 5, True), (b"zTXt", 65, False), (b"iCCP", 65, False)):
        packed = chunk(kind, b"name\0\0" + zlib.compress(bytes(size * 1_000_000)))
        if sound:
            assert (load(data[:33] + packed + data[33:]) == scene()).all()
        else:
            with pytest.raises(UnreadableImage, match="texts or colour profile in the file have more than 64,000,000"):
                load(data[:33] + packed + data[33:])


def test_things_that_are_no_files(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    (tmp_path / "nowhere.jpg").symlink_to("missing.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    for name in ("folder.jpg", "pipe.jpg", "device.jpg"):
        with pytest.raises(UnreadableImage, match="not a file"):
            load_image(tmp_path / name)
    for name in ("circle.jpg", "nowhere.jpg", "missing.jpg", "null\0.jpg", "x" * 300 + ".jpg"):
        with pytest.raises(UnreadableImage):
            load_image(tmp_path / name)


def test_files_of_somebody_else(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (tmp_path / "closed.png").write_bytes(SMALL_FILES["png"])
    (tmp_path / "closed.png").chmod(0)
    with pytest.raises(UnreadableImage, match="Permission denied"):
        load_image(tmp_path / "closed.png")


def test_damaged_files_are_read_or_rejected_with_one_sentence():
    """In a process of its own, since a decoder that fails badly takes the interpreter with it."""
    command = [
        sys.executable,
        Path(__file__).with_name("fuzz_loader.py"),
        "--examples",
        "3000",
        "--max-pixels",
        "2000000",
    ]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    read, rejected = map(int, re.search(r"3000 files: (\d+) read, (\d+) rejected, 0 wrong", run.stdout).groups())
    assert min(read, rejected) > 300  # both ways are tried
    assert run.stderr == ""


# Memory and the pictures of this world


@pytest.mark.parametrize(
    "format, mode, options, cost",
    [
        ("JPEG", "RGB", {"quality": 80}, imaging.DECODING_COST["JPEG"]),
        ("JPEG", "RGB", {"quality": 80, "progressive": True, "subsampling": 0}, imaging.SEVERAL_SCANS_COST),
        ("JPEG", "CMYK", {"quality": 80, "progressive": True, "subsampling": 0}, imaging.CMYK_COST),
        ("PNG", "RGBA", {"compress_level": 1}, imaging.DEFAULT_COST),
        ("TIFF", "F", {"compression": "tiff_deflate"}, imaging.DECODING_COST["TIFF"]),
        ("WEBP", "RGBA", {"method": 0, "quality": 50}, imaging.DECODING_COST["WEBP"]),
    ],
)
def test_the_assumed_memory_is_not_too_low(tmp_path, format, mode, options, cost):
    side = 3600
    picture = Image.fromarray(scene(450, 450)).resize((side, side), Image.Resampling.NEAREST).convert(mode)
    exif = Image.Exif()
    exif[imaging.ORIENTATION_TAG] = 6
    picture.save(tmp_path / "large", format, exif=exif.tobytes(), **options)
    code = (
        "import sys; from fuzz_loader import imaging, peak_memory; imaging.Image.init();"
        "before = peak_memory(); imaging.load_image(sys.argv[1]); print(peak_memory() - before)"
    )
    measured = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "large"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    strips = 50  # MB, whatever the size of the picture
    assert float(measured) <= cost * side * side / 1e6 + strips


@pytest.mark.skipif("COPYTRACE_PHOTOS" not in os.environ, reason="COPYTRACE_PHOTOS names no folder")
def test_photographs_have_the_pixels_that_pillow_gives():
    photos = sorted(Path(os.environ["COPYTRACE_PHOTOS"]).rglob("*.jpg"))[::50]
    assert photos
    for photo in photos:
        expected = np.asarray(ImageOps.exif_transpose(Image.open(photo)).convert("RGB"))
        assert (load_image(photo) == expected).all()
