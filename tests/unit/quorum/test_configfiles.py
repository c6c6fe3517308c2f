"""The membership in files beside zoo.cfg."""

import pytest

from zabra.config.dynamic import parse_config
from zabra.errors import ConfigError
from zabra.quorum.configfiles import ConfigFiles
from zabra.runtime.disk import RealDisk

STATIC = b"# mine\ntickTime=2000\nclientPort=2181\nserver.1=a:1:2;2181\nserver.2=b:1:2\n"


def members(version, own="a:1:2;2181"):
    return parse_config(f"server.10=c:1:2\nserver.1={own}\nversion={version:x}")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "zoo.cfg").write_bytes(STATIC)
    return tmp_path


@pytest.fixture
def files(folder):
    return ConfigFiles(RealDisk(), str(folder / "zoo.cfg"))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_owners_file_is_kept(files, folder):
    files.back_up()
    assert (folder / "zoo.cfg.bak").read_bytes() == STATIC


def test_a_committed_membership_moves_out_of_the_static_file(files, folder):
    files.store_committed(members(0x10000000A), 1)
    dynamic = folder / "zoo.cfg.dynamic.10000000a"
    assert dynamic.read_text() == "server.10=c:1:2:participant\nserver.1=a:1:2:participant;0.0.0.0:2181"
    assert (folder / "zoo.cfg").read_text() == f"tickTime=2000\ndynamicConfigFile={dynamic}\n"
    assert names(folder) == ["zoo.cfg", "zoo.cfg.dynamic.10000000a"]


@pytest.mark.parametrize(("my_id", "own"), [(1, "a:1:2"), (10, "a:1:2;2181"), (99, "a:1:2;2181")])
def test_the_client_port_stays_where_no_own_line_has_it(files, folder, my_id, own):
    files.store_committed(members(1, own), my_id)
    assert "clientPort=2181\n" in (folder / "zoo.cfg").read_text()


def test_each_committed_membership_is_pointed_to(files, folder):
    for version in (1, 0x1F):
        files.store_committed(members(version), 1)
    assert (folder / "zoo.cfg").read_text().endswith(f"dynamicConfigFile={folder}/zoo.cfg.dynamic.1f\n")
    assert names(folder) == ["zoo.cfg", "zoo.cfg.dynamic.1", "zoo.cfg.dynamic.1f"]


def test_a_proposed_membership_is_kept_with_its_version(files, folder):
    assert files.read_proposed() is None
    files.store_proposed(members(0x2A))
    assert (folder / "zoo.cfg.dynamic.next").read_text().endswith("\nversion=2a")
    assert files.read_proposed().text() == members(0x2A).text()


@pytest.mark.parametrize(("committed", "left"), [(0x29, True), (0x2A, False), (0x2B, False)])
def test_a_proposed_membership_goes_when_it_or_a_later_one_is_committed(files, committed, left):
    files.store_proposed(members(0x2A))
    files.store_committed(members(committed), 1)
    assert (files.read_proposed() is not None) is left


def test_a_proposed_membership_that_does_not_parse_is_refused(files, folder):
    (folder / "zoo.cfg.dynamic.next").write_bytes(b"server.1=a\n")
    with pytest.raises(ConfigError):
        files.read_proposed()


def test_the_static_file_points_to_nothing_that_is_not_there(files, folder):
    writes = []

    class Failing(RealDisk):
        def write_atomic(self, path, data):
            writes.append(path)
            raise OSError(28, "no space left on device")

    with pytest.raises(OSError, match="no space"):
        ConfigFiles(Failing(), str(folder / "zoo.cfg")).store_committed(members(7), 1)
    assert writes == [str(folder / "zoo.cfg.dynamic.7")]
    assert (folder / "zoo.cfg").read_bytes() == STATIC
