"""Imports go downwards only, and pure packages know nothing of the outside."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "zabra"

#: Layers from top to bottom; a module may import from layers below its own, and within its own package.
LAYERS = (
    ("sim", "tools"),
    ("__main__",),
    ("main",),
    ("node",),
    ("admin",),
    ("frontend", "quorum"),
    ("pipeline",),
    ("storage",),
    ("tree", "sessions", "auth", "zab"),
    ("wire",),
    ("config", "obs", "runtime"),
    ("errors", "consts", "zxid", "paths", "__init__"),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
#: Packages that neither wait for, open, nor ask the outside for anything.
PURE = ("wire", "tree", "sessions", "auth", "zab")
OUTSIDE = ("asyncio", "os", "random", "socket", "subprocess", "threading", "time", "uvloop", "secrets", "uuid")
#: Modules that are one unit with another.
PART_OF = {"node_status": "node", "node_serving": "node", "node_standalone": "node", "node_member": "node"}
#: Imports upwards that are on purpose.
UPWARDS = {
    ("main", "zabra.tools.cleanup"): "the command line starts every tool",
    ("main", "zabra.tools.ensemble"): "the command line starts every tool",
}

MODULES = sorted(SOURCE.rglob("*.py"))


def place_of(path):
    return str(path.relative_to(SOURCE))


def layer_of(path):
    name = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    return PART_OF.get(name, name)


def imports_of(path):
    """Every module name imported anywhere in ``path``."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{place_of(path)}: relative import"
            yield node.module
            if node.module == "zabra":
                yield from (f"zabra.{alias.name}" for alias in node.names if alias.name in LEVEL)


def test_every_module_has_a_layer():
    assert {layer_of(path) for path in MODULES} <= set(LEVEL)


@pytest.mark.parametrize("path", MODULES, ids=place_of)
def test_imports_go_downwards(path):
    own = layer_of(path)
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] != "zabra" or len(parts) == 1 or (own, name) in UPWARDS:
            continue
        other = PART_OF.get(parts[1], parts[1])
        # Packages of one layer do not know each other either.
        assert other == own or LEVEL[other] > LEVEL[own], f"{place_of(path)} imports {name}"


@pytest.mark.parametrize("path", [p for p in MODULES if layer_of(p) in PURE], ids=place_of)
def test_pure_packages_ask_nothing_of_the_outside(path):
    for name in imports_of(path):
        assert name.split(".")[0] not in OUTSIDE, f"{place_of(path)} imports {name}"
        assert not name.startswith("zabra.runtime"), f"{place_of(path)} imports {name}"


def test_nothing_imports_the_simulator():
    for path in MODULES:
        if layer_of(path) != "sim":
            assert not any(name.startswith("zabra.sim") for name in imports_of(path)), place_of(path)
