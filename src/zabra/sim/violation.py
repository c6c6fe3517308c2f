"""What every checker raises."""

from __future__ import annotations


class Violation(AssertionError):
    """The server broke a promise."""


def difference(found: object, wanted: object) -> str:
    """Both values, shortened to what is around the first difference."""
    left, right = repr(found), repr(wanted)
    at = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    start = max(at - 200, 0)
    return f"found ...{left[start : at + 200]}..., expected ...{right[start : at + 200]}..."
