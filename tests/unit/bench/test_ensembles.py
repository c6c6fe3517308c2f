"""What an ensemble of the benchmark consists of, and how it is asked for its leader."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from bench import ensembles
from bench.ensembles import Ensemble, Status, parse_status, status
from bench.servers import BenchError, config_text, free_port, lasting_ports

SRVR = """Zookeeper version: 3.9.5-x, built on 2025-01-01 00:00 UTC
Latency min/avg/max: 0/0.0/0
Zxid: 0x10000000a
Mode: follower
Node count: 5
"""


class TestEnsemble:
    def test_three_members_share_a_list_and_differ_in_all_else(self, tmp_path: Path) -> None:
        members = Ensemble("zabra", tmp_path / "zabra").servers
        texts = [config_text(member.folder, member.port, member.extra).splitlines() for member in members]
        common = set(texts[0]) & set(texts[1]) & set(texts[2])
        assert sorted(line.split("=")[0] for line in common if "server." in line) == [
            "server.1",
            "server.2",
            "server.3",
        ]
        assert {"initLimit=10", "syncLimit=5", "tickTime=2000"} <= common
        assert [member.myid for member in members] == [1, 2, 3]
        assert len({member.folder for member in members}) == 3
        ports = [word for line in common for word in line.split(":") if word.isdigit()]
        assert len({*ports, *(str(member.port) for member in members)}) == 9

    def test_both_kinds_have_the_same_settings(self, tmp_path: Path) -> None:
        zabra, apache = (Ensemble(name, tmp_path / name).servers[0] for name in ("zabra", "apache"))
        assert zabra.extra.keys() == apache.extra.keys()

    def test_no_leader_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ensembles, "STOP_TIMEOUT_S", 0.01)
        with pytest.raises(BenchError, match="the ensemble of zabra has no leader"):
            Ensemble("zabra", tmp_path / "zabra").leader()


class TestStatus:
    def test_mode_and_zxid_are_read(self) -> None:
        assert parse_status(SRVR) == Status("follower", 0x10000000A)

    def test_a_server_that_does_not_serve_has_none(self) -> None:
        assert parse_status("This ZooKeeper instance is not currently serving requests\n") is None

    def test_nobody_answers_at_a_closed_port(self) -> None:
        assert status(free_port()) is None

    def test_the_answer_may_come_in_pieces(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=_answer_in_pieces, args=(listener,))
            thread.start()
            said = status(listener.getsockname()[1])
            thread.join()
        assert said == Status("follower", 0x10000000A)


def _answer_in_pieces(listener: socket.socket) -> None:
    with listener.accept()[0] as s:
        assert s.recv(4, socket.MSG_WAITALL) == b"srvr"
        for byte in SRVR.encode():
            s.sendall(bytes([byte]))


def test_lasting_ports_are_none_that_the_system_gives_away() -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    ports = lasting_ports(9)
    assert len(set(ports)) == 9
    assert not [port for port in ports if low <= port <= high]
