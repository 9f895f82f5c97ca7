"""Paths of a user: filled in; which picture files a folder holds, and a digest that changes when they do.

The standard library alone: Snakemake asks for the digest each time it reads the workflow.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

#: Names that are taken for pictures; what is really inside is found out when they are decoded.
PICTURE_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".avif", ".jp2", ".j2k", ".mpo"),
)


def picture_files(folder: str | Path) -> tuple[list[str], list[tuple[str, str]]]:
    """The files with a picture's ending below `folder`, and which subfolders cannot be read, and why.

    Paths are relative to `folder` and sorted. Hidden files and folders are left out. Each folder is visited
    once, under its own name rather than a link's, so that links in circles end. Names that are not UTF-8 come
    as Python has them, with surrogates.
    """
    files: list[str] = []
    problems: list[tuple[str, str]] = []
    seen: set[tuple[int, int]] = set()
    folders: list[str] = [""]
    links: list[str] = []
    while folders or links:
        links.sort(reverse=True)
        relative = folders.pop() if folders else links.pop()
        try:
            status = (Path(folder) / relative).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(Path(folder) / relative) as entries:
                for entry in entries:
                    path = f"{relative}/{entry.name}" if relative else entry.name
                    if entry.name.startswith("."):
                        continue
                    if _is_folder(entry):
                        (links if entry.is_symlink() else folders).append(path)
                    elif entry.name.lower().endswith(PICTURE_ENDINGS):
                        files.append(path)
        except OSError as error:
            problems.append((relative, f"the folder cannot be read: {error.strerror}"))
    return sorted(files), sorted(problems)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def expanded(path: str) -> str:
    """A path of the configuration with ~ and environment variables filled in, those that are set."""
    return os.path.expanduser(os.path.expandvars(path))  # noqa: PTH111, Path would make a folder of ""


def is_file(path: str | Path) -> bool:
    """Whether there is a file; a path that can't even be looked at has none: the job that reads it says why."""
    try:
        return Path(path).is_file()
    except OSError:
        return False


def folder_digest(folder: str | Path) -> str:
    """SHA-256 over the names, sizes and modification times (in ns) of what `picture_files` finds.

    A folder that does not exist has the digest of an empty one: the job that lists it says what is wrong.
    """
    digest = hashlib.sha256()
    for path in picture_files(folder)[0]:
        try:
            status = (Path(folder) / path).stat()
            size, modified = status.st_size, status.st_mtime_ns
        except OSError:  # a link to nowhere, or just deleted
            size, modified = -1, 0
        digest.update(os.fsencode(path) + f"\0{size}\0{modified}\0".encode())
    return digest.hexdigest()
