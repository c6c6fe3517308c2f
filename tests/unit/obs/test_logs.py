"""Log lines are readable or JSON, name the server, and floods are held back."""

import io
import json
import logging

import pytest

from zabra.obs.logs import FloodGate, level_of, set_up


@pytest.fixture
def log():
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    stream = io.StringIO()

    def start(**options):
        set_up("zabra:2181", stream=stream, **options)
        return logging.getLogger("zabra.storage.recovery"), stream

    yield start
    root.handlers[:] = before
    root.setLevel(level)


def test_a_text_line_names_time_server_level_and_place(log):
    logger, stream = log()
    logger.info("replayed %d transactions", 5)
    line = stream.getvalue()
    assert line.endswith(" zabra:2181 INFO  storage.recovery: replayed 5 transactions\n")
    assert line[4] == line[7] == "-"


def test_a_json_line_is_one_object(log):
    logger, stream = log(log_format="json")
    try:
        raise ValueError("50 % of\nnothing")
    except ValueError:
        logger.exception("failed at %s", "start")
    (line,) = stream.getvalue().splitlines()
    fields = json.loads(line)
    assert (fields["server"], fields["level"], fields["message"]) == ("zabra:2181", "ERROR", "failed at start")
    assert fields["logger"] == "zabra.storage.recovery"
    assert fields["time"].endswith("Z")
    assert "nothing" in fields["exception"]


def test_levels_filter(log):
    logger, stream = log(level="WARNING")
    logger.info("hidden")
    logger.warning("shown")
    assert "hidden" not in stream.getvalue()
    assert "shown" in stream.getvalue()


def test_a_second_set_up_replaces_the_first(log):
    log()
    logger, stream = log()
    logger.info("once")
    assert stream.getvalue().count("once") == 1


@pytest.mark.parametrize(
    ("name", "level"),
    [("info", "INFO"), ("WARN", "WARNING"), ("Trace", "DEBUG"), (" error ", "ERROR"), ("OFF", "CRITICAL"), ("x", None)],
)
def test_level_names_of_java_are_known(name, level):
    assert level_of(name) == level


def record(message, created, *, level=logging.WARNING, args=()):
    made = logging.LogRecord("zabra.frontend", level, "", 0, message, args, None)
    made.created = created
    return made


def test_a_flood_of_one_kind_is_held_back_and_counted():
    gate = FloodGate(burst=3, period=10.0)
    shown = [gate.filter(record("closing %s", 100.0 + i / 100, args=(i,))) for i in range(10)]
    assert shown == [True] * 3 + [False] * 7
    assert gate.filter(record("other %s", 100.5, args=(1,)))
    late = record("closing %s", 111.0, args=(10,))
    assert gate.filter(late)
    assert late.getMessage() == "closing 10 (and 7 more like this were not shown)"
    assert gate.filter(record("closing %s", 111.1, args=(11,)))


def test_errors_always_pass():
    gate = FloodGate(burst=1)
    assert all(gate.filter(record("lost", 1.0, level=logging.ERROR)) for _ in range(5))
