"""Tables of pictures: listing, manifest, rejected.

listing    `image_id, path`                  what a folder or a list file names, before decoding
manifest   `image_id, path, width, height`   what could be decoded, as decoded: EXIF-turned
rejected   `role, path, reason`              everything else
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pandas as pd

from copytrace import pairs
from copytrace.errors import InputError
from copytrace.folders import PICTURE_ENDINGS, picture_files
from copytrace.imaging import UnreadableImage, load_image
from copytrace.runtime import Throughput, atomic_output


def list_pictures(source: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The pictures that a folder or a list file names: (listing, rejected without its column `role`).

    Folder: every file below it with a picture's ending, sorted (see `folders.picture_files`). The image_id is
    the path relative to the folder without the ending; files whose ids would collide keep theirs. A name that
    is not UTF-8 or contains a carriage return, and a subfolder that cannot be read, are rejected.

    List file: one path per line, UTF-8, absolute or relative to the list's folder; blank lines are skipped,
    a name without a dot gets ".jpg". The image_id is the path as written without the ending, by the
    same rule for collisions; the order is the list's.

    Raises InputError if there is no such folder or list, or nothing in it, or if a list names a file twice or
    files that do not exist.
    """
    source = Path(source)
    try:
        kind = source.stat().st_mode
    except FileNotFoundError:
        raise InputError(f"the folder or list file {source} does not exist") from None
    except OSError as error:
        raise InputError(f"the folder or list file {source} cannot be read: {error.strerror}") from None
    if stat.S_ISDIR(kind):
        listing, rejected = _list_folder(source)
    elif stat.S_ISREG(kind):
        listing, rejected = _list_lines(source), _rejections([])
    else:
        raise InputError(f"{source} is neither a folder nor a list file")
    listing["image_id"] = _unique_ids(listing["image_id"])
    return listing, rejected


def _list_folder(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    files, problems = picture_files(folder)
    if problems and problems[0][0] == "":
        raise InputError(f"{folder}: {problems[0][1]}")
    if not files:
        raise InputError(f"the folder {folder} holds no pictures (files ending in {' '.join(PICTURE_ENDINGS)})")
    flaws = {path: flaw for path in files if (flaw := _name_flaw(path))}
    named = [path for path in files if path not in flaws]
    problems += flaws.items()
    listing = pd.DataFrame({"image_id": named, "path": [str(folder / path) for path in named]}, dtype=str)
    return listing, _rejections((str(folder / path), reason) for path, reason in problems)


def _list_lines(source: Path) -> pd.DataFrame:
    if source.name.lower().endswith(PICTURE_ENDINGS):
        raise InputError(f"{source} is a picture: name a folder, or a list file with one path per line")
    try:
        text = source.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"the list file {source} is not UTF-8 text with one path per line") from None
    except OSError as error:
        raise InputError(f"the list file {source} cannot be read: {error.strerror}") from None
    lines = pd.Series(text.split("\n"), dtype=str).str.removesuffix("\r")
    lines = lines[lines.str.strip() != ""].reset_index(drop=True)
    if lines.empty:
        raise InputError(f"the list file {source} names no pictures")
    lines = lines.where(lines.str.contains(r"\.[^/]*$"), lines + ".jpg")
    repeated = lines[lines.duplicated()]
    if repeated.size:
        raise InputError(f"the list file {source} repeats {repeated.size} path(s), the first is {repeated.iloc[0]}")
    listing = pd.DataFrame({"image_id": lines, "path": [str(source.parent / line) for line in lines]}, dtype=str)
    # Links are followed only where two spellings look alike: for a million files that takes minutes.
    alike = listing.loc[listing["path"].map(os.path.normpath).duplicated(keep=False), "path"].map(os.path.realpath)
    if alike.duplicated().any():
        first, second, *_ = lines[alike.index[alike == alike[alike.duplicated()].iloc[0]]]
        raise InputError(f"the list file {source} names one file twice: {first} and {second}")
    _check_existence(listing, source)
    return listing


def list_pairs(source: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The pictures in a CSV of pairs (see `pairs.read`), each once: (listing, rejected without its column `role`).

    The image_id is the path without the ending, by the same rule for collisions as in `list_pictures`. Raises
    InputError if the CSV has a mistake or names files that do not exist.
    """
    paths = pd.Series(pairs.read(source).to_numpy().ravel(), dtype=str).drop_duplicates(ignore_index=True)
    listing = pd.DataFrame({"image_id": _unique_ids(paths), "path": paths})
    _check_existence(listing, source)
    return listing, _rejections([])


def _check_existence(listing: pd.DataFrame, source: str | Path) -> None:
    missing = listing["path"][[not os.path.lexists(path) for path in listing["path"]]]
    if missing.size:
        raise InputError(
            f"{missing.size} of the {len(listing)} files that {source} names do not exist; "
            f"the first is {missing.iloc[0]}"
        )


def _unique_ids(files: pd.Series) -> pd.Series:
    """Paths without their endings, except where that would give two files the same id."""
    ids = files.str.replace(r"(?<=[^/])\.[^./]*$", "", regex=True)
    # Again and again, because a kept ending can meet another file's id: a.jpg, a.png, a.jpg.png.
    while (colliding := ids.duplicated(keep=False) & (ids != files)).any():
        ids = ids.where(~colliding, files)
    return ids


def _name_flaw(path: str) -> str | None:
    """Why a file of this name cannot take part, if so: its id has to fit into text files and tables."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return "the name is not UTF-8"
    return "the name contains a carriage return" if "\r" in path else None


def _printable(path: str) -> str:
    r"""A path as text for any file: bytes that are not UTF-8 become \xNN, and carriage returns \r."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace("\r", r"\r")


def _rejections(rows: Iterable[tuple[str, str]]) -> pd.DataFrame:
    return pd.DataFrame([(_printable(path), reason) for path, reason in rows], columns=["path", "reason"], dtype=str)


def scan_pictures(listing: pd.DataFrame, max_pixels: int, threads: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Decode every picture of a listing in full: (manifest, rejected without its column `role`).

    Each thread holds one decoded picture at a time.
    """
    measure = partial(_measure, max_pixels=max_pixels)
    outcomes = []
    with (
        Throughput("pictures", threads, len(listing)) as done,
        ThreadPoolExecutor(threads) as pool,
    ):
        for outcome in pool.map(measure, listing["path"]):
            outcomes.append(outcome)
            done.add()
    found = pd.DataFrame(outcomes, columns=["width", "height", "reason"], index=listing.index)
    readable = found["reason"].isna()
    manifest = listing[readable].join(found.loc[readable, ["width", "height"]].astype("int32"))
    rejected = listing.loc[~readable, ["path"]].join(found.loc[~readable, ["reason"]].astype(str))
    return manifest.reset_index(drop=True), rejected.reset_index(drop=True)


def _measure(path: str, max_pixels: int) -> tuple[int, int, str | None]:
    try:
        height, width = load_image(path, max_pixels).shape[:2]
    except UnreadableImage as problem:
        return 0, 0, str(problem)
    return width, height, None


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table as a whole or not at all: Parquet, or CSV where the name ends in .csv."""
    with atomic_output(path) as temporary:
        if Path(path).suffix == ".csv":
            table.to_csv(temporary, index=False, lineterminator="\n")
        else:
            table.to_parquet(temporary, index=False)


def write_rejected(rejected: pd.DataFrame, role: str, path: str | Path) -> None:
    """Write a rejected list (CSV `role, path, reason`) from the columns `path, reason`."""
    write_table(rejected.assign(role=role)[["role", "path", "reason"]], path)


def read_rejected(path: str | Path) -> pd.DataFrame:
    """Read a rejected list: `role, path, reason`, all of them text."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)
