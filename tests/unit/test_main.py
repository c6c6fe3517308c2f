"""The command line: what it accepts, what it says, how it ends."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from zabra.errors import ConfigError
from zabra.main import _default_name, _ready_line, configure, default_data_dir, main

SOURCE = str(Path(__file__).parents[2] / "src")


def environment(tmp_path, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ZOOKEEPER_", "ZABRA_", "JVM"))}
    return {**kept, "PYTHONPATH": SOURCE, "XDG_DATA_HOME": str(tmp_path / "share"), **more}


@pytest.fixture
def start(tmp_path):
    """Starts the server as a process; all are killed at the end."""
    started = []

    def run(*arguments, **more):
        process = subprocess.Popen(
            [sys.executable, "-m", "zabra", "server", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(tmp_path, **more),
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port, word):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(word)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def test_no_configuration_is_a_local_server_with_a_folder_of_its_own(tmp_path):
    settings = configure([], [], {"XDG_DATA_HOME": str(tmp_path)}).settings
    assert (settings.client_port_address, settings.client_port) == ("127.0.0.1", 2181)
    assert settings.data_dir == f"{tmp_path}/zabra/data"
    assert default_data_dir({}).endswith("/.local/share/zabra/data")


def test_port_and_folder_as_plain_arguments():
    settings = configure(["2199", "/d", "4000", "9"], [], {}).settings
    assert (settings.client_port, settings.data_dir, settings.tick_time_ms, settings.max_client_cnxns) == (
        *(2199, "/d"),
        *(4000, 9),
    )
    assert configure(["2199", "/d"], [], {}).settings.max_client_cnxns == 0


@pytest.mark.parametrize("words", [["x", "/d"], ["1", "/d", "0"], ["1", "/d", "1", "2", "3"]])
def test_other_plain_arguments_are_refused(words):
    with pytest.raises(ConfigError):
        configure(words, [], {})


def ensemble(tmp_path, myid):
    (tmp_path / "myid").write_text(f"{myid}\n")
    cfg = tmp_path / "zoo.cfg"
    servers = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer\n"
    cfg.write_text(f"dataDir={tmp_path}\nclientPort=2181\ninitLimit=5\nsyncLimit=5\n{servers}")
    return str(cfg)


@pytest.mark.parametrize(("myid", "role"), [(2, "a participant"), (3, "an observer")])
def test_a_member_says_which_it_is(tmp_path, myid, role):
    settings = configure([ensemble(tmp_path, myid)], [], {}).settings
    assert f" is server.{myid}, {role} of 3 servers, listens on 0.0.0.0:2181, " in _ready_line(settings, 2181)
    assert _default_name(settings) == f"zabra.{myid}:2181"


def test_a_member_that_is_not_in_the_list_is_one_line(tmp_path, capsys):
    assert main(["server", ensemble(tmp_path, 4)]) == 2
    assert capsys.readouterr().err == (
        f"zabra: {tmp_path}/myid: 4: expected the id of a server in {tmp_path}/zoo.cfg, one of 1, 2, 3\n"
    )


def test_a_bad_value_ends_with_code_2(tmp_path, capsys):
    cfg = tmp_path / "zoo.cfg"
    cfg.write_text(f"dataDir={tmp_path}\nclientPort=70000\n")
    assert main(["server", str(cfg)]) == 2
    assert capsys.readouterr().err == (f"zabra: {cfg}:2: clientPort=70000: expected a whole number from 0 to 65535\n")


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["server", "--nonsense"], ["server", "--log-format=xml"]])
def test_bad_invocations_end_with_code_2(arguments, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["server", "--help"], ["cleanup", "--help"]])
def test_questions_end_with_code_0(arguments, capsys):
    assert main(arguments) == 0
    assert "abra" in capsys.readouterr().out


def test_options_may_stand_on_either_side_of_the_file(tmp_path, capsys):
    cfg = tmp_path / "zoo.cfg"
    cfg.write_text("clientPort=1\n")
    assert main(["server", "-DtickTime=x", str(cfg), "-DmaxCnxns=y", "-Dzookeeper.maxCnxns=z"]) == 2
    error = capsys.readouterr().err
    assert "-DtickTime=x: " in error
    assert "-Dzookeeper.maxCnxns=z: " in error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_says_where_and_stops_cleanly(start, tmp_path, number):
    port = free_port()
    process = start(f"-DclientPort={port}", "--log-level=warn")
    line = process.stdout.readline()
    assert f"listens on 127.0.0.1:{port}, data in {tmp_path}/share/zabra/data\n" in line
    assert b"Mode: standalone" in ask(port, b"srvr")
    process.send_signal(number)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert (out, err) == ("", "")


def test_it_obeys_a_file_and_logs_json(start, tmp_path):
    cfg = tmp_path / "zoo.cfg"
    cfg.write_text(f"dataDir={tmp_path}/data\nclientPort=0\nno.such.key=1\n4lw.commands.whitelist=ruok\n")
    process = start(str(cfg), "--name=one", ZABRA_LOG_FORMAT="json")
    port = int(process.stdout.readline().partition("0.0.0.0:")[2].partition(",")[0])
    assert ask(port, b"ruok") == b"imok"
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert '"server": "one"' in err
    assert "unknown key no.such.key" in err


def test_a_port_in_use_is_one_line_and_code_1(start, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start(f"-DclientPort={port}", "--log-level=error")
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "address already in use" in err.lower()
    assert err.count("\n") == 1


def test_a_data_folder_that_cannot_be_is_code_3(start, tmp_path):
    (tmp_path / "file").write_text("")
    process = start("0", str(tmp_path / "file" / "data"), "--log-level=error")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 3
    assert str(tmp_path / "file") in err


def test_an_unknown_host_is_a_bad_configuration(start, tmp_path):
    process = start("-DclientPort=0", "-DclientPortAddress=no such host", "--log-level=error")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert err.startswith("zabra: clientPortAddress=no such host: expected a known host: ")


def test_python_without_assertions_is_refused(tmp_path):
    command = [sys.executable, "-O", "-m", "zabra", "server"]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert "without -O" in done.stderr
