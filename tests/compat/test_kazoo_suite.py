"""kazoo's own test suite passes here exactly as it does with Apache ZooKeeper 3.9.5."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from compat import kazoo_suite
from compat.servers import REPOSITORY, ZABRA, require


def test_stand_in_hands_over_options_and_the_file_and_drops_the_rest(tmp_path: Path) -> None:
    echo = tmp_path / "python"
    echo.write_text('#!/bin/sh\nfor a in "$@"; do echo "<$a>"; done\n')
    echo.chmod(0o755)
    main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
    shown = subprocess.run(
        [REPOSITORY / "dev/java/java", "-cp", "a:b c", "-Da=1 2", "-Xmx1g", "-Db=3", main, "/tmp/zoo x.cfg"],
        env={"ZABRA_PYTHON": str(echo), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.splitlines() == ["<-m>", "<zabra>", "<server>", "<-Da=1 2>", "<-Db=3>", "</tmp/zoo x.cfg>"]


def test_every_waiting_test_passes_with_apache() -> None:
    passing = kazoo_suite.stored(kazoo_suite.PASSING)
    assert set(kazoo_suite.stored(kazoo_suite.WAITING)) <= set(passing)
    assert set(kazoo_suite.stored(kazoo_suite.ENSEMBLE)) <= set(passing)
    assert [len(kazoo_suite.expected(size)) for size in kazoo_suite.SIZES] == [483, 490]


@pytest.mark.slow
@pytest.mark.parametrize("size", kazoo_suite.SIZES)
def test_kazoo_suite_passes_as_with_apache(size: int, tmp_path: Path) -> None:
    try:
        kazoo_suite.environment_python()
    except (subprocess.SubprocessError, OSError) as error:
        require(f"no virtual environment with kazoo's test packages: {error}")
    found = kazoo_suite.run(ZABRA, size, tmp_path)
    assert kazoo_suite.differences(found, size) == []
