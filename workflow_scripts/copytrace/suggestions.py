"""Names that a mistyped name may have meant. Standard library only."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `name`, if one is like it at all."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return close[0] if close else None


def hint(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: "did you mean …?", or the first twelve known names."""
    names = list(known)
    close = closest(name, names)
    if close:
        return f"did you mean {close}?"
    return f"known are {', '.join(names[:12])}{', …' if len(names) > 12 else ''}" if names else "there are none"
