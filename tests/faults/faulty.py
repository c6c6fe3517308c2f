"""The faulty disk of faulty_disk.c, compiled, as a wrapper around a server's command line."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("faulty_disk.c")


def missing_cc() -> str | None:
    """What keeps the faulty disk from being compiled, or ``None``."""
    return None if shutil.which("cc") is not None else "no C compiler `cc` on PATH"


def compile_faulty_disk(folder: Path) -> Path:
    """The shared library."""
    library = folder / "faulty_disk.so"
    command = ["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread", "-o", str(library)]
    subprocess.run([*command, str(SOURCE), "-ldl"], check=True, timeout=60)
    return library


def faulty(library: Path, *, call: str, path: str, after: int, errno: int = 0, seed: int = 1) -> tuple[str, ...]:
    """What goes in front of the command: ``call`` number ``after`` (from 0) on ``path`` fails, see faulty_disk.c."""
    variables = {"CALL": call, "PATH": path, "AFTER": after, "ERRNO": errno, "SEED": seed}
    return ("env", f"LD_PRELOAD={library}", *(f"FAULT_{name}={value}" for name, value in variables.items()))
