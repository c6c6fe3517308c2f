"""Znode paths. Inside the server a path is ``bytes``: its UTF-8 text, as it came from the wire.

Rules from ``PathUtils.validatePath`` (3.9.5). Paths that passed :func:`is_valid` are canonical UTF-8 (every character
the rules allow lies in the basic plane), so equal paths are equal bytes.
"""

import re
from typing import Final

ROOT: Final = b"/"
ZOOKEEPER: Final = b"/zookeeper"
QUOTA: Final = b"/zookeeper/quota"
CONFIG: Final = b"/zookeeper/config"

_PLAIN = re.compile(rb"(?:/[\x20-\x2e\x30-\x7e]+)+\Z").match
_BAD_COMPONENT = re.compile(rb"/\.{1,2}(?:/|\Z)").search
_BAD_CHARACTER = re.compile("[\u0000-\u001f\u007f-\u009f\ud800-\uf8ff\ufff0-\uffff\U00010000-\U0010ffff]").search


def is_valid(path: bytes) -> bool:
    """Whether ``path`` may name a znode: absolute, no empty, ``.`` or ``..`` component, no forbidden character."""
    if _PLAIN(path) is None:
        if path == ROOT:
            return True
        if not path.startswith(b"/") or path.endswith(b"/") or b"//" in path:
            return False
        if _BAD_CHARACTER(path.decode("utf-8", "replace")) is not None:
            return False
    return b"/." not in path or _BAD_COMPONENT(path) is None


def parent_of(path: bytes) -> bytes:
    """The parent's path; ``path`` must contain a slash and not be the root."""
    return path[: path.rfind(b"/")] or ROOT


def name_of(path: bytes) -> bytes:
    """The last component."""
    return path[path.rfind(b"/") + 1 :]


def join(parent: bytes, name: bytes) -> bytes:
    """The path of child ``name`` below ``parent``."""
    return b"/" + name if parent == ROOT else parent + b"/" + name


def text_of(path: bytes) -> str:
    """The path as text for people: logs and four-letter words."""
    return path.decode("utf-8", "replace")
