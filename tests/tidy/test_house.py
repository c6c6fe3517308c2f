"""House rules that a tool can hold: file lengths, banned words and calls, dead settings, generated files."""

import ast
import dataclasses
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from zabra.config.model import Settings
from zabra.config.properties import all_properties

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "zabra"
MODULES = sorted(SOURCE.rglob("*.py"))
GENERATED = ("records_data.py", "records_proto.py", "records_txn.py", "records_quorum.py")
LINES_MAX = 600
#: Files allowed to be longer, with the most they may have. Only ever lower a number.
LONGER = {"frontend/connection.py": 700}

#: Calls that would make a run depend on more than its seed, or lose an exception; where each is allowed.
BANNED_CALLS = {
    "asyncio.create_task": (),
    "asyncio.ensure_future": (),
    "time.time": (),
    "time.monotonic": ("runtime/real.py",),
    "time.sleep": (),
    "random.random": (),
    "random.randrange": (),
    "uuid.uuid4": (),
    "datetime.now": (),
    "os.fork": (),
    "hash": (),
    "print": ("main.py", "tools/", "sim/"),
    "breakpoint": (),
    "eval": (),
    "exec": (),
}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError)\b")


def place_of(path):
    return str(path.relative_to(SOURCE))


def name_of(call):
    """``a.b`` of a call, its plain name, or nothing."""
    function = call.func
    if isinstance(function, ast.Name):
        return function.id
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return f"{function.value.id}.{function.attr}"
    return ""


@pytest.mark.parametrize("path", [path for path in MODULES if path.name not in GENERATED], ids=place_of)
def test_files_stay_short(path):
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= LONGER.get(place_of(path), LINES_MAX)


@pytest.mark.parametrize("path", MODULES, ids=place_of)
def test_no_banned_calls(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            allowed = BANNED_CALLS.get(name_of(node))
            if allowed is not None and not place_of(path).startswith(allowed):
                pytest.fail(f"{place_of(path)}:{node.lineno}: {name_of(node)}")


@pytest.mark.parametrize("path", MODULES, ids=place_of)
def test_nothing_is_left_unfinished(path):
    assert not UNFINISHED.search(path.read_text("utf-8"))


@pytest.mark.parametrize("path", MODULES, ids=place_of)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text("utf-8"))) or path.name == "__init__.py"


def import_name(path):
    """What pytest imports a test module as: its name, below the packages it lies in."""
    name = path.stem
    while (path.parent / "__init__.py").exists():
        path = path.parent
        name = f"{path.name}.{name}"
    return name


def test_test_modules_have_names_of_their_own():
    """Two of one name are collected each alone, but not in one run."""
    names = Counter(import_name(path) for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py")
    assert [name for name, count in names.items() if count > 1] == []


def settings_that_are_obeyed():
    obeyed = [row.attribute for row in all_properties() if row.status == "obeyed" and row.attribute]
    return sorted(dict.fromkeys(obeyed))


@pytest.fixture(scope="module")
def server_text():
    """The source of everything that could read a setting."""
    return "\n".join(path.read_text("utf-8") for path in MODULES if not place_of(path).startswith("config/"))


@pytest.mark.parametrize("attribute", settings_that_are_obeyed())
def test_a_property_called_obeyed_is_read_by_somebody(attribute, server_text):
    # Where the membership stands is asked of Settings.config_backward_compatible.
    if attribute != "dynamic_config_file":
        assert re.search(rf"\.{attribute}\b", server_text), f"nothing outside zabra.config reads {attribute}"


def test_every_setting_belongs_to_a_property():
    own = ("config_file", "properties", "server_id")
    attributes = [row.attribute for row in all_properties()]
    assert [field.name for field in dataclasses.fields(Settings) if field.name not in (*attributes, *own)] == []


@pytest.mark.parametrize("generator", ["gen_records.py", "gen_docs.py"])
def test_generated_files_are_up_to_date(generator):
    command = [sys.executable, str(ROOT / "dev" / generator), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_docs_link_to_files_that_exist():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    for page in pages:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
