"""The real file system: short reads and writes, atomic replace, what is made durable."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from zabra.runtime.disk import RealDisk


@pytest.fixture
def disk() -> RealDisk:
    return RealDisk()


def test_write_read_size_truncate(disk: RealDisk, tmp_path: Path) -> None:
    file = disk.open(f"{tmp_path}/a", create=True, write=True)
    file.pwrite(b"hello", 0)
    file.pwrite(b"!", 7)
    file.sync()
    assert file.pread(100, 0) == b"hello\0\0!"
    assert file.pread(3, 1) == b"ell"
    assert file.pread(3, 8) == b""
    assert file.size() == disk.size(f"{tmp_path}/a") == 8
    file.truncate(2)
    assert disk.read(f"{tmp_path}/a") == b"he"
    file.truncate(4)
    assert file.pread(9, 0) == b"he\0\0"
    file.close()
    file.close()


def test_open_modes(disk: RealDisk, tmp_path: Path) -> None:
    path = f"{tmp_path}/a"
    with pytest.raises(FileNotFoundError):
        disk.open(path)
    with pytest.raises(FileNotFoundError):
        disk.open(path, write=True)
    disk.open(path, create=True, exclusive=True).close()
    with pytest.raises(FileExistsError):
        disk.open(path, create=True, exclusive=True)
    readonly = disk.open(path)
    with pytest.raises(OSError, match="Bad file descriptor"):
        readonly.pwrite(b"x", 0)
    readonly.close()
    disk.open(path, create=True).close()


def test_a_part_that_was_written_is_followed_by_the_rest(
    disk: RealDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may take less than it was given; a full disk then says so at the next try."""
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, bytes(data)[:3], offset))
    file = disk.open(f"{tmp_path}/a", create=True, write=True)
    file.pwrite(b"0123456789", 2)
    assert disk.read(f"{tmp_path}/a") == b"\0\x000123456789"
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: 0)
    with pytest.raises(OSError, match="short write"):
        file.pwrite(b"x", 0)
    file.close()


def test_a_part_that_was_read_is_followed_by_the_rest(
    disk: RealDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: real(fd, min(size, 3), offset))
    file = disk.open(f"{tmp_path}/a")
    assert file.pread(8, 1) == b"12345678"
    assert file.pread(99, 1) == b"123456789"
    file.close()


def test_atomic_replace(disk: RealDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old or new, never a part; a failure leaves the old one."""
    path = f"{tmp_path}/a"
    disk.write_atomic(path, b"old")
    disk.write_atomic(path, b"new")
    assert disk.read(path) == b"new"
    assert disk.listdir(str(tmp_path)) == ["a"]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="full"):
            disk.write_atomic(path, b"third")
    assert disk.read(path) == b"new"


def test_folders(disk: RealDisk, tmp_path: Path) -> None:
    folder = f"{tmp_path}/x/y/z"
    disk.makedirs(folder)
    disk.makedirs(folder)
    assert disk.is_dir(folder)
    assert disk.exists(folder)
    for name in ("b", "a", "c"):
        disk.open(f"{folder}/{name}", create=True).close()
    assert disk.listdir(folder) == ["a", "b", "c"]
    assert not disk.is_dir(f"{folder}/a")
    disk.rename(f"{folder}/a", f"{folder}/b")
    disk.unlink(f"{folder}/c")
    disk.sync_dir(folder)
    assert disk.listdir(folder) == ["b"]
    assert not disk.exists(f"{folder}/c")
    with pytest.raises(FileNotFoundError):
        disk.unlink(f"{folder}/c")


def test_new_folders_are_made_durable_in_their_parents(
    disk: RealDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a crash could take a synced file away with the folder it lies in."""
    synced: list[str] = []
    monkeypatch.setattr(RealDisk, "sync_dir", lambda self, path: synced.append(path))
    disk.makedirs(f"{tmp_path}/x/y")
    assert synced == [str(tmp_path), f"{tmp_path}/x"]
    synced.clear()
    disk.write_atomic(f"{tmp_path}/x/file", b"1")
    assert synced == [f"{tmp_path}/x"]


def test_descriptors_are_not_inherited(disk: RealDisk, tmp_path: Path) -> None:
    file = disk.open(f"{tmp_path}/a", create=True, write=True)
    assert not os.get_inheritable(file._fd)
    file.close()
