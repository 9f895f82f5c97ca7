"""The footer of a Parquet table: what can be known of it without reading its rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from copytrace.errors import InputError


def read_footer(path: str | Path) -> pq.FileMetaData:
    """Columns and number of rows of a Parquet table.

    Raises:
        InputError: the file is cut off or no table. (pyarrow does not name it here, but where rows are read:
            `runtime.run`.)
    """
    try:
        return pq.read_metadata(path)
    except pa.ArrowInvalid as broken:
        raise InputError(f"{path} can't be read ({broken}): delete it and run the same command again") from None
