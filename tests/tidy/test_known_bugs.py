"""docs/known-bugs.md: every test it names exists, and every bug has its place."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "known-bugs.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))
BUGS = 68


def test_tests_are_named():
    assert len(NAMED) > 40
    assert PAGE.count("::") == len(re.findall(r"`tests/[\w/]+\.py::test_\w+`", PAGE))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_the_named_test_exists(file, name):
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    assert name in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def rows_below(heading):
    """Numbers of the first column of the tables in a part of the page."""
    part = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return {int(number) for number in re.findall(r"^\| (\d+) \|", part, re.MULTILINE)}


def test_every_bug_has_a_place():
    here = rows_below("A single server") | rows_below("A member's memory and disk") | rows_below("Ensembles")
    assert here | {61} == set(range(1, BUGS + 1))


def test_each_row_names_a_test():
    for line in PAGE.splitlines():
        if re.match(r"\| (\d+|-|CVE-[\d-]+) \|", line):
            assert "::test_" in line, line
