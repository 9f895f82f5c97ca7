"""Compute the hashes in pdq_reference.json with the package pdqhash, which wraps the authors' own code.

pdqhash has no wheels and needs a C++ compiler; the tests only read the file. To make it again:

    python3 -m venv /tmp/pdq && /tmp/pdq/bin/pip install pdqhash==0.2.8 "numpy>=2"
    /tmp/pdq/bin/python tests/data/make_pdq_reference.py > tests/data/pdq_reference.json
"""

import json

import numpy as np

SIZES = (
    *((4, 100), (5, 9), (10, 10), (40, 50), (20, 300), (63, 65), (64, 64), (64, 200), (100, 120), (128, 128)),
    *((129, 127), (200, 300), (256, 256), (257, 255), (512, 512), (640, 1000), (1024, 768)),
)


def draw_picture(height: int, width: int, seed: int) -> np.ndarray:
    """Coloured blocks under noise, uint8 [height, width, 3]: whole numbers, so the same on every machine."""
    draw = np.random.default_rng(seed)
    blocks = draw.integers(0, 193, (9, 11, 3))
    rows, columns = np.arange(height) * 9 // height, np.arange(width) * 11 // width
    return (blocks[rows][:, columns] + draw.integers(0, 63, (height, width, 3))).astype(np.uint8)


def main() -> None:
    """Print the reference hashes of all sizes, each in colour and in grey."""
    import pdqhash

    pictures = []
    for seed, (height, width) in enumerate(SIZES):
        for grey in (False, True):
            picture = draw_picture(height, width, seed)
            if grey:
                picture[:] = picture[:, :, :1]
            bits, quality = pdqhash.compute(picture)
            pictures.append(
                {
                    "height": height,
                    "width": width,
                    "seed": seed,
                    "grey": grey,
                    "hash": np.packbits(bits.astype(np.uint8)).tobytes().hex(),
                    "quality": int(quality),
                }
            )
    print(json.dumps({"made_by": "pdqhash 0.2.8", "pictures": pictures}, indent=1))


if __name__ == "__main__":
    main()
