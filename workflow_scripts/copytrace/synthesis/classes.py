"""Which training pictures become classes (D²LV, sections 2.1 and 2.3 of the fact sheet)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from copytrace.errors import InputError


def class_table(manifest: pd.DataFrame, stride: int, faces: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row per class: `class_id` (int64, 0 … n − 1), `image_id`, `path`, `reason` ("stride" or "face").

    Every stride-th row of the manifest (`image_id, path`) is a base class, numbered row ÷ stride. With a
    table of `faces` (`image_id, faces`) each picture with at least one face that is not a class already
    follows, in the manifest's order: no picture makes two classes (T5 of the fact sheet).

    Raises:
        InputError: the manifest is empty.
    """
    if manifest.empty:
        raise InputError("The manifest of the training pictures is empty: name a folder with pictures.")
    is_class = np.arange(len(manifest)) % stride == 0
    parts = [manifest.loc[is_class, ["image_id", "path"]].assign(reason="stride")]
    if faces is not None:
        with_face = manifest["image_id"].isin(faces.loc[faces["faces"] > 0, "image_id"])
        parts.append(manifest.loc[with_face & ~is_class, ["image_id", "path"]].assign(reason="face"))
    classes = pd.concat(parts, ignore_index=True)
    classes.insert(0, "class_id", np.arange(len(classes)))
    return classes


def class_ids(training: str | Path, stride: int | None, faces: str | Path | None) -> set[str]:
    """Ids of the training pictures that are classes, from files with `class_table`'s tables; none without a stride."""
    if stride is None:
        return set()
    found = pd.read_parquet(faces) if faces else None
    return set(class_table(pd.read_parquet(training), stride, found)["image_id"])
