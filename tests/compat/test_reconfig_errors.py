"""Reconfigs that are refused: the errors that tests/golden/reconfig_errors.tsv holds, asked of real leaders.

The client may not write the config node, so that -102 (no authority) means that all else was fine and nothing changes.
"""

from __future__ import annotations

import csv
import functools
from pathlib import Path

import pytest

from compat import jute
from compat.ensembles import Ensemble, Spec
from compat.servers import APACHE, ZABRA, missing_java, require

GOLDEN = Path(__file__).parents[1] / "golden" / "reconfig_errors.tsv"
VOTERS = (1, 2, 3)


@pytest.mark.parametrize("kind", [pytest.param(APACHE, marks=pytest.mark.java), ZABRA])
def test_errors_of_a_reconfig(kind: str, tmp_path: Path) -> None:
    if kind == APACHE:
        require(missing_java())
    with Ensemble(tmp_path, {sid: Spec(kind) for sid in VOTERS}) as ensemble:
        ensemble.start()
        ensemble.add(4, Spec(kind))
        values = {f"{{{sid}}}": member.line().partition("=")[2] for sid, member in ensemble.members.items()}
        with ensemble.client(ensemble.leader().sid) as client:
            err, body = client.call(jute.GET_DATA, jute.path_watch("/zookeeper/config", False))
            assert err == 0
            values["{version}"] = str(int(body[0].decode().rpartition("version=")[2], 16))
            wrong = []
            for row in rows():
                filled = [functools.reduce(_replace, values.items(), cell) for cell in row[:4]]
                joining, leaving, new_members = (None if cell == "-" else cell for cell in filled[:3])
                err, _ = client.call(jute.RECONFIG, jute.reconfig(joining, leaving, new_members, int(filled[3])))
                if err != int(row[4]):
                    wrong.append((row, err))
            assert wrong == []
            client.close_session()


def rows() -> list[list[str]]:
    """joining, leaving, new members, expected version and error of each request."""
    with GOLDEN.open(encoding="utf-8") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]


def _replace(text: str, value: tuple[str, str]) -> str:
    return text.replace(*value)
