"""zabra cleanup removes what the newest snapshots do not need, and says so file by file."""

import re

import pytest

from zabra.runtime.disk import RealDisk
from zabra.storage.snapstore import SnapshotStore
from zabra.tools.cleanup import main
from zabra.tree.dump import Dump
from zabra.tree.tree import DataTree


@pytest.fixture
def folder(tmp_path):
    """A data folder with five whole snapshots and a log before each."""
    inner = tmp_path / "data" / "version-2"
    inner.mkdir(parents=True)
    for zxid in (0x10, 0x20, 0x30, 0x40, 0x50):
        tree = DataTree()
        tree.last_zxid = zxid
        dump = Dump(tree, {})
        writer = SnapshotStore(RealDisk(), str(inner)).writer(dump.zxid, dump.digest)
        writer.write(dump.next_chunk(100))
        writer.finish()
        (inner / f"log.{zxid - 8:x}").write_bytes(b"")
    return inner


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_snapshots_and_their_logs_stay(folder, capsys):
    assert main([str(folder.parent), "-n", "3"]) == 0
    assert names(folder) == ["log.28", "log.38", "log.48", "snapshot.30", "snapshot.40", "snapshot.50"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "4 files removed"
    for line in lines[:-1]:
        assert re.fullmatch(rf"Removing file: \w{{3}} \d+, \d{{4}}, \d+:\d\d:\d\d [AP]M\t{folder}/\S+", line)


def test_a_dry_run_removes_nothing(folder, capsys):
    before = names(folder)
    assert main([str(folder.parent), "-n", "3", "--dry-run"]) == 0
    assert names(folder) == before
    assert capsys.readouterr().out.endswith("4 files would be removed\n")


def test_the_folders_may_come_from_zoo_cfg(folder, tmp_path):
    cfg = tmp_path / "zoo.cfg"
    cfg.write_text(f"dataDir={folder.parent}\nclientPort=2181\n")
    assert main(["-n", "4", str(cfg)]) == 0
    assert "snapshot.10" not in names(folder)
    assert "snapshot.20" in names(folder)


@pytest.mark.parametrize(
    "arguments",
    [[], ["{}"], ["{}", "-n", "2"], ["{}", "-n", "x"], ["{}/no", "-n", "3"], ["{}", "{}", "{}", "-n", "3"]],
)
def test_bad_arguments_end_with_code_1_and_remove_nothing(folder, capsys, arguments):
    before = names(folder)
    assert main([argument.format(folder.parent) for argument in arguments]) == 1
    assert names(folder) == before
    assert capsys.readouterr().err
