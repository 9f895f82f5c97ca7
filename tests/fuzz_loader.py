"""Feed the picture loader damaged files: `python tests/fuzz_loader.py --seconds 1200`.

Every file must come back as pixels or as `UnreadableImage` with one sentence, within the memory that a picture may
take, and without a word on standard error. The last line says how many were tried and what went wrong; the seeds
above it make the same file again (`--first SEED --examples 1 --keep FILE`). Where a decoder takes the interpreter
down, the seed is in the file that `--progress` names.
"""

from __future__ import annotations

import argparse
import os
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from hostile import encode
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "workflow_scripts"))
from copytrace import imaging

EXTREMES = [0, 1, 2, 3, 7, 8, 9, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF]


def seeds() -> dict[str, bytes]:
    """Sound files of every format that the loader knows, with what makes their decoders branch."""
    y, x = np.mgrid[:60, :90]
    pixels = np.stack([x * 255 // 90, y * 255 // 60, (x + y) * 3 % 256], axis=2).astype(np.uint8)
    colour, grey = Image.fromarray(pixels), Image.fromarray(pixels[:, :, 0])
    alpha = Image.fromarray(np.dstack([pixels, pixels[:, :, 0]]))
    palette = colour.quantize(64)
    deep = Image.fromarray(pixels[:, :, 2].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif.update({imaging.ORIENTATION_TAG: 6, 0x010E: "text" * 9, 0x011A: 72.0})
    return {
        "jpeg": encode(colour, "JPEG", exif=exif, quality=80, comment=b"comment"),
        "jpeg progressive": encode(colour, "JPEG", progressive=True, icc_profile=bytes(300)),
        "jpeg restarts": encode(grey, "JPEG", restart_marker_rows=1),
        "jpeg cmyk": encode(colour.convert("CMYK"), "JPEG"),
        "mpo": encode(colour, "MPO", frames=3),
        "png": encode(colour, "PNG", exif=exif),
        "png palette": encode(palette, "PNG", transparency=3, bits=8),
        "png 16": encode(deep, "PNG"),
        "png la": encode(alpha.convert("LA"), "PNG"),
        "apng": encode(colour, "PNG", frames=3),
        "gif": encode(palette, "GIF", transparency=3, comment=b"comment"),
        "gif animated": encode(colour, "GIF", frames=3),
        "bmp": encode(colour, "BMP"),
        "bmp palette": encode(palette, "BMP"),
        "bmp 1": encode(colour.convert("1"), "BMP"),
        "dib": encode(colour, "DIB"),
        "tiff": encode(colour, "TIFF", exif=exif),
        "tiff deflate": encode(alpha, "TIFF", compression="tiff_adobe_deflate"),
        "tiff lzw": encode(colour, "TIFF", compression="tiff_lzw"),
        "tiff jpeg": encode(colour, "TIFF", compression="jpeg"),
        "tiff tiles": encode(colour, "TIFF", compression="tiff_lzw", tiffinfo={322: 32, 323: 32}),
        "tiff fax": encode(colour.convert("1"), "TIFF", compression="group4"),
        "tiff float": encode(grey.convert("F"), "TIFF", compression="packbits"),
        "tiff 16": encode(deep, "TIFF"),
        "tiff big": encode(colour, "TIFF", big_tiff=True),
        "tiff pages": encode(colour, "TIFF", frames=3),
        "webp": encode(colour, "WEBP", exif=exif),
        "webp lossless": encode(alpha, "WEBP", lossless=True),
        "webp animated": encode(colour, "WEBP", frames=3),
        "avif": encode(alpha, "AVIF", exif=exif),
        "avif animated": encode(colour, "AVIF", frames=3),
        "jpeg2000": encode(colour, "JPEG2000"),
        "jpeg2000 tiles": encode(alpha, "JPEG2000", tile_size=(32, 32), irreversible=True),
        "jpeg2000 stream": encode(colour, "JPEG2000", no_jp2=True),
    }


def chunks(data: bytes) -> list[tuple[int, int]]:
    """Start and end of a PNG's chunks, a JPEG's segments, a RIFF's chunks; of other files, of twelve bytes each."""
    bounds, place = [], 8
    if data.startswith(b"\xff\xd8"):
        place = 2
        while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
            end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
            bounds.append((place, end))
            place = end
    elif data.startswith(b"\x89PNG"):
        while place + 12 <= len(data):
            end = place + 12 + int.from_bytes(data[place : place + 4], "big")
            bounds.append((place, end))
            place = end
    elif data.startswith(b"RIFF"):
        place = 12
        while place + 8 <= len(data):
            size = int.from_bytes(data[place + 4 : place + 8], "little")
            bounds.append((place, place + 8 + size + size % 2))
            place = bounds[-1][1]
    else:
        bounds = [(start, min(start + 12, len(data))) for start in range(0, len(data), 12)]
    return bounds


def repaired(data: bytes) -> bytes:
    """A PNG whose checksums fit again: without that, hardly a change gets past the first chunk."""
    data = bytearray(data)
    for start, end in chunks(bytes(data)):
        if end <= len(data):
            data[end - 4 : end] = struct.pack(">I", zlib.crc32(data[start + 4 : end - 4]))
    return bytes(data)


def mutated(files: dict[str, bytes], seed: int) -> tuple[str, bytes]:
    """A damaged file and the name of the sound one; the same for the same seed."""
    draw = np.random.default_rng(seed)
    kind = str(draw.choice(sorted(files)))
    data = bytearray(files[kind])
    for _ in range(draw.integers(1, 6)):
        # Half of the changes hit the header, where sizes and offsets are.
        reach = len(data) if draw.random() < 0.5 else min(250, len(data))
        place = int(draw.integers(0, max(1, reach)))
        match draw.integers(0, 8):
            case 0 if data:
                place = min(place, len(data) - 1)
                data[place] ^= 1 << int(draw.integers(0, 8))
            case 1:
                data[place : place + int(draw.integers(0, 5))] = draw.bytes(int(draw.integers(0, 7)))
            case 2 if draw.random() < 0.3:
                del data[int(draw.integers(0, len(data) + 1)) :]
            case 3 | 4:  # a number of the header
                width = int(draw.choice([1, 2, 4]))
                value = int(draw.choice(EXTREMES)) % 256**width
                data[place : place + width] = value.to_bytes(width, str(draw.choice(["big", "little"])))
            case 5 | 6:  # whole chunks swap, double or go
                bounds = chunks(bytes(data))
                if len(bounds) > 1:
                    (a, b), (c, d) = (bounds[i] for i in sorted(draw.choice(len(bounds), 2, replace=False)))
                    parts = {
                        0: (data[c:d], data[b:c], data[a:b]),
                        1: (data[a:b], data[b:c], data[c:d], data[a:b]),
                        2: (data[b:c], data[c:d]),
                    }[int(draw.integers(0, 3))]
                    data[a:d] = b"".join(parts)
            case 7:  # a piece of another file
                other = files[str(draw.choice(sorted(files)))]
                start, length = int(draw.integers(0, len(other))), int(draw.integers(1, 200))
                data[place : place + length] = other[start : start + length]
    result = bytes(data)
    return kind, repaired(result) if result.startswith(b"\x89PNG") and draw.random() < 0.8 else result


def peak_memory(reset: bool = False) -> float:
    """The largest resident size of this program so far, or since the last reset, in MB (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
        return 0
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1000


def outcome(path: Path, max_pixels: int) -> tuple[str, str]:
    """How the loader took a file: ("read" or "rejected" or "wrong", what it said)."""
    try:
        pixels = imaging.load_image(path, max_pixels)
    except imaging.UnreadableImage as problem:
        said = str(problem)
        return ("rejected", said) if said and said.isprintable() else ("wrong", f"the reason {said!r}")
    except BaseException as error:
        return "wrong", f"{type(error).__name__}: {error}"
    sound = pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.flags.c_contiguous
    if not sound or not 0 < pixels.shape[0] * pixels.shape[1] <= max_pixels:
        return "wrong", f"pixels {pixels.dtype} {pixels.shape}"
    return "read", ""


def main() -> None:
    """Try files until the number or the time is used up; exit status 1 if one went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="seed of the first file")
    parser.add_argument("--examples", type=int, default=10**9, help="how many files at most")
    parser.add_argument("--seconds", type=float, default=10**9, help="how long at most")
    parser.add_argument("--slow", type=float, default=60, help="processor seconds for one file that count as hanging")
    parser.add_argument("--max-pixels", type=int, default=imaging.MAX_PIXELS)
    parser.add_argument("--progress", help="file that holds the seed that is being tried")
    parser.add_argument("--keep", help="file to keep the last damaged file in")
    args = parser.parse_args()

    files = seeds()
    Image.init()
    counts, wrong, slowest, largest = Counter(), 0, (0.0, 0), (0.0, 0)
    loud = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
    terminal = os.dup(2)
    os.dup2(loud.fileno(), 2)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "damaged.jpg")
        for seed in range(args.first, args.first + args.examples):
            if time.monotonic() - started > args.seconds:
                break
            if args.progress:
                Path(args.progress).write_text(str(seed))
            kind, data = mutated(files, seed)
            path.write_bytes(data)
            if args.keep:
                Path(args.keep).write_bytes(data)
            peak_memory(reset=True)
            before, clock = peak_memory(), time.process_time()
            verdict, said = outcome(path, args.max_pixels)
            seconds, memory = time.process_time() - clock, peak_memory() - before
            slowest, largest = max(slowest, (seconds, seed)), max(largest, (memory, seed))
            problems = [said] if verdict == "wrong" else []
            if memory > imaging.MAX_MEMORY / 1e6:
                problems.append(f"{memory:.0f} MB")
            if seconds > args.slow:
                problems.append(f"{seconds:.0f} s")
            if loud.seek(0, os.SEEK_END):
                loud.seek(0)
                problems.append(f"on standard error: {loud.read(300)!r}")
                loud.seek(0)
                loud.truncate()
            counts[verdict] += 1
            if problems:
                wrong += 1
                print(f"seed {seed}, {kind}: {'; '.join(problems)}", flush=True)
    os.dup2(terminal, 2)
    print(
        f"{counts['read'] + counts['rejected'] + counts['wrong']} files: {counts['read']} read, "
        f"{counts['rejected']} rejected, {wrong} wrong; slowest {slowest[0]:.1f} s (seed {slowest[1]}), "
        f"largest {largest[0]:.0f} MB (seed {largest[1]})"
    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
