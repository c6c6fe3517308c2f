"""The files Apache ZooKeeper wrote for these tests (see storage_generate.py), unpacked."""

from __future__ import annotations

import gzip
from pathlib import Path

FOLDER = Path(__file__).parent / "storage"


def golden_files() -> dict[str, bytes]:
    """File name -> content; logs without their padding."""
    return {path.name.removesuffix(".packed"): gzip.decompress(path.read_bytes()) for path in sorted(FOLDER.iterdir())}


def golden(prefix: str) -> bytes:
    """The first file whose name begins so."""
    return next(data for name, data in golden_files().items() if name.startswith(prefix))
