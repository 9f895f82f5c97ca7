"""Tables in files: CSV that a user writes, and the footers of Parquet."""

from __future__ import annotations

import stat
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from copytrace.errors import InputError


def read_two_columns(path: str | Path, what: str, columns: list[str]) -> pd.DataFrame:
    """The lines of a CSV file with two columns, a header among them as it stands; every cell is text.

    Raises InputError, which calls the file `what`, if it is not such a file.
    """
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # a named pipe would be waited for
            raise InputError(f"{what} {path} cannot be read: it is not a file")
        table = pd.read_csv(path, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except pd.errors.EmptyDataError:
        raise InputError(f"{what} {path} is empty") from None
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read: {error.strerror}") from None
    except (pd.errors.ParserError, UnicodeDecodeError):
        raise InputError(f"{what} {path} is not a CSV file with the columns {','.join(columns)}") from None
    if table.shape[1] != 2:
        raise InputError(f"{what} {path} has {table.shape[1]} columns instead of {','.join(columns)}")
    table.columns = pd.Index(columns)
    return table


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
