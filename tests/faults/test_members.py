"""Members of ensembles that cannot start as they are: one message that says what to do, and an exit code."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compat.ensembles import LEADER, Ensemble, Member, Spec
from compat.servers import LOOPBACK, ZABRA

REMEDY = "restore the file, or empty the data folders: then the ensemble sends everything anew"
CONFIG = {"tickTime": "250", "initLimit": "40", "syncLimit": "8"}


@pytest.fixture
def ensemble(tmp_path: Path) -> Iterator[Ensemble]:
    """Three servers that were never started."""
    with Ensemble(tmp_path, dict.fromkeys((1, 2, 3), Spec(ZABRA)), config=CONFIG) as made:
        yield made


def refused(member: Member) -> tuple[int, list[str]]:
    """The exit code of a start that fails, and what it prints besides what is going on."""
    member.spawn()
    code = member.wait()
    return code, [line for line in member.log.read_text().splitlines() if " INFO " not in line]


def written(member: Member) -> Path:
    """Its configuration; the folder is made."""
    return member.write_config()


def test_a_wrong_id(ensemble: Ensemble) -> None:
    member = ensemble[1]
    config = written(member)
    (member.data / "myid").write_text("4\n")
    assert refused(member) == (
        2,
        [f"zabra: {member.data}/myid: 4: expected the id of a server in {config}, one of 1, 2, 3"],
    )


@pytest.mark.parametrize("text", ["", "one\n"])
def test_an_id_that_is_no_number(ensemble: Ensemble, text: str) -> None:
    member = ensemble[1]
    written(member)
    (member.data / "myid").write_text(text)
    shown = text.strip()
    assert refused(member) == (2, [f"zabra: {member.data}/myid:1: {shown}: expected the number of this server"])


def test_no_id(ensemble: Ensemble) -> None:
    member = ensemble[1]
    written(member)
    (member.data / "myid").unlink()
    message = "missing: expected a file with the id of this server, one of 1, 2, 3"
    assert refused(member) == (2, [f"zabra: {member.data}/myid: {message}"])


def test_a_server_that_its_own_list_does_not_have(ensemble: Ensemble) -> None:
    member = ensemble[1]
    member.lines = member.lines[1:]
    config = written(member)
    assert refused(member) == (
        2,
        [f"zabra: {member.data}/myid: 1: expected the id of a server in {config}, one of 2, 3"],
    )


@contextmanager
def taken(port: int) -> Iterator[socket.socket]:
    """Somebody else listens there."""
    with socket.create_server((LOOPBACK, port)) as listening:
        yield listening


def test_an_election_port_in_use(ensemble: Ensemble) -> None:
    """It may be free soon, so it is tried a few times; then the start fails, as Apache's does."""
    member = ensemble[1]
    with taken(member.election_port):
        code, lines = refused(member)
    assert code == 14
    address = f"{LOOPBACK}:{member.election_port}"
    *tries, last = lines
    assert ["address already in use" in line for line in tries] == [True] * 3
    assert last == f"zabra: cannot listen on {address}: free an election port, or give server 1 another in its line"


def test_an_election_port_that_is_free_soon(ensemble: Ensemble) -> None:
    member = ensemble[1]
    with taken(member.election_port):
        member.spawn()
        ensemble.until("it has tried once", lambda: "cannot listen on election address" in member.log_tail())
    ensemble.until("it listens", lambda: "listening for elections" in member.log_tail())
    assert member.stop() == 0


def test_a_client_port_in_use(ensemble: Ensemble) -> None:
    member = ensemble[1]
    with taken(member.port):
        code, (line,) = refused(member)
    assert code == 1
    assert str(member.port) in line
    assert "address already in use" in line.lower()


def test_a_quorum_port_in_use_is_given_up_by_who_shall_lead(ensemble: Ensemble) -> None:
    """It cannot lead and looks again; once the port is free the ensemble serves."""
    with taken(ensemble[3].quorum_port):
        for member in ensemble.members.values():
            member.spawn()
        what = f"cannot listen for learners: {LOOPBACK}:{ensemble[3].quorum_port}: "
        ensemble.until("3 has tried to lead", lambda: what in ensemble[3].log_tail())
    ensemble.wait_serving()
    assert all(member.alive() for member in ensemble.members.values())


def spoil(text: str) -> Callable[[Path], None]:
    """Another content of a file."""
    return lambda file: file.write_text(text) and None


def make_unreadable(file: Path) -> None:
    """A folder in its place: not even root can read that."""
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("name", ["acceptedEpoch", "currentEpoch"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil("garbage"), f"expected a number on the first line, found b'garbage': {REMEDY}"),
        (spoil(""), f"expected a number on the first line, found b'': {REMEDY}"),
        (make_unreadable, "Is a directory"),
    ],
    ids=["garbage", "empty", "folder"],
)
def test_an_epoch_file_that_cannot_be_read(
    ensemble: Ensemble, name: str, change: Callable[[Path], None], message: str
) -> None:
    member = ensemble[1]
    written(member)
    file = member.data / "version-2" / name
    file.parent.mkdir()
    file.write_text("0")
    change(file)
    code, (line,) = refused(member)
    assert code == 1
    assert line == f"zabra: {file}: {message}"


def test_an_epoch_older_than_the_history(ensemble: Ensemble) -> None:
    """Somebody has put an old file back."""
    ensemble.start()
    leader = ensemble.leader()
    ensemble.fill(leader.sid, 10)
    for member in ensemble.members.values():
        assert member.stop() == 0
    member = ensemble[1]
    file = member.data / "version-2" / "currentEpoch"
    file.write_text("0")
    before = len(member.log.read_text())
    member.spawn()
    assert member.wait() == 1
    last = member.log.read_text()[before:].splitlines()[-1]
    assert last.startswith(f"zabra: {file}: the current epoch 0x0 is older than the last zxid 0x1")
    assert last.endswith(REMEDY)
    # Two others are enough, and it can be brought back by hand.
    ensemble.start(2, 3)
    file.write_text("1")
    ensemble.start(1)
    assert LEADER in ensemble.modes().values()
    assert os.path.exists(file)
