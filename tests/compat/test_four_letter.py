"""Four-letter words, asked of Apache's server and of ours after the same requests, compared line by line.

Numbers that tell time, size, address or version are reduced to their shape; everything else must be equal as it is.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from compat import jute
from compat.rawclient import Client, Link
from compat.servers import APACHE, ZABRA, ServerProcess, missing_java, require

pytestmark = pytest.mark.java

WORDS: Final = (
    *("conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro"),
    *("mntr", "ruok", "srst", "srvr", "stat", "stmk", "wchc", "wchp", "wchs"),
)
#: What differs between two servers or two moments, and the shape it is reduced to.
SHAPES: Final = tuple(
    (re.compile(pattern, re.MULTILINE), shape)
    for pattern, shape in (
        (r"0x1[0-9a-f]{10}([0-9a-f]{4})\b", r"SESSION \1"),
        (r"/127\.0\.0\.1:\d+", "PEER"),
        (r"\b(est|lresp)=[1-9]\d*", r"\1=MS"),
        (r"\b(llat|minlat|avglat|maxlat)=\d+", r"\1=MS"),
        (r"expire at \w{3} \w{3} \d\d \d\d:\d\d:\d\d \w+ \d{4}:$", "expire at DATE:"),
        (r"^Latency min/avg/max: \d+/\d+\.\d+/\d+$", "LATENCY"),
        (r"^(dataDir|dataLogDir)=/.*/data/version-2$", r"\1=FOLDER"),
        (r"^clientPort=\d+$", "clientPort=PORT"),
        (r"(Size=|_size: )\d+$", r"\1BYTES"),
        (r"^([0-9a-f]+): -?\d{6,}$", r"\1: DIGEST"),
        (r"^(Zookeeper version: |zookeeper.version=)3\.9\.5-[-.\w]+, built on \d{4}-\d\d-\d\d \d\d:\d\d UTC$", r"\1V"),
    )
)
#: ``mntr`` lines whose values must be equal, not only of one kind.
EXACT: Final = (
    *("server_state", "znode_count", "watch_count", "ephemerals_count", "approximate_data_size"),
    *("num_alive_connections", "outstanding_requests", "global_sessions", "local_sessions", "min_latency"),
    *("packets_received", "packets_sent", "bytes_received_count", "watch_bytes", "connection_request_count"),
    *("connection_rejected", "connection_drop_probability", "auth_failed_count", "digest_mismatches_count"),
    *("cnt_readlatency", "cnt_updatelatency", "sum_node_changed_watch_count", "cnt_node_changed_watch_count"),
    *("cnt_node_created_watch_count", "sum_node_created_watch_count", "connection_revalidate_count"),
    *("stale_sessions_expired", "unrecoverable_error_count"),
)
#: Metrics that we do not have: they would have to split every path that is read or written.
NOT_HERE: Final = re.compile(r".*_(read|write)_per_namespace$")


class Answers(NamedTuple):
    """What one server said."""

    #: After the same requests: word -> text.
    words: dict[str, str]
    #: Behind ``crst`` and ``srst``.
    reset: dict[str, str]
    #: Answers to ``stmk`` with a mask, ``gtmk``, and a word that there is none of.
    rest: tuple[str, str, str]
    #: With a whitelist of ruok alone.
    refused: dict[str, str]


def populate(server: ServerProcess, stack: ExitStack) -> None:
    """Connections of every kind: none asked yet, busy, told of changes, just opened, its last request a write."""
    stack.enter_context(Link(server.port))
    busy = stack.enter_context(Client(server.port))
    told = stack.enter_context(Client(server.port, timeout_ms=20000))
    for path, flags in (("/a", 0), ("/a/e", 1), ("/a/f", 1), ("/b", 2)):
        assert busy.call(jute.CREATE, jute.create(path, b"data", jute.OPEN, flags))[0] == 0
    for _ in range(256):
        busy.call(jute.SET_DATA, jute.set_data("/a", b"x", -1))
    busy.call(jute.EXISTS, jute.path_watch("/nix", True))
    busy.call(jute.GET_CHILDREN, jute.path_watch("/a", True))
    told.call(jute.ADD_WATCH, jute.path_int("/a", 1))
    stack.enter_context(Client(server.port))
    writer = stack.enter_context(Client(server.port))
    writer.call(jute.SET_DATA, jute.set_data("/a", b"y", -1))
    writer.call(jute.CREATE, jute.create("/a/new", None, jute.OPEN, 0))
    busy.call(jute.GET_DATA, jute.path_watch("/a", True))
    told.call(jute.PING, xid=jute.XID_PING)


def interview(kind: str, folder: Path) -> Answers:
    """Start a server, use it, ask it everything."""
    with ServerProcess(kind, folder / "open") as server, ExitStack() as stack:
        server.start()
        server.word("srst")  # or how often the start was watched would show
        populate(server, stack)
        # Stock sends long answers in several packets: what counts packets is asked first.
        first = ("srvr", "stat", "cons", "mntr")
        later = [word for word in WORDS if word not in (*first, "crst", "srst", "stmk")]
        words = {word: server.word(word) for word in (*first, *later)}
        reset = {word: server.word(word) for word in ("crst", "cons", "srst", "srvr", "stat")}
        rest = server.word("stmk\0\0\0\0\0\0\x01\x02"), server.word("gtmk"), server.word("nixx")
    with ServerProcess(kind, folder / "strict", config={"4lw.commands.whitelist": "ruok,srvr"}) as server:
        server.start()
        refused = {word: server.word(word) for word in WORDS if word != "srvr"}
    return Answers(words, reset, rest, refused)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Answers, Answers]:
    """Apache's answers and ours."""
    require(missing_java())
    folders = tmp_path_factory.mktemp("words")
    return interview(APACHE, folders / APACHE), interview(ZABRA, folders / ZABRA)


def lines(text: str) -> list[str]:
    """The lines of an answer, reduced to what must be equal."""
    for pattern, shape in SHAPES:
        text = pattern.sub(shape, text)
    return text.split("\n")


def grouped(text: str) -> dict[str, list[str]]:
    """Heading -> lines set off below it, for answers in no particular order."""
    groups: dict[str, list[str]] = {}
    heading = ""
    for line in lines(text):
        if line.startswith("\t"):
            groups[heading].append(line)
        else:
            heading = line
            groups[heading] = []
    return {heading: sorted(members) for heading, members in groups.items()}


@pytest.mark.parametrize("word", ["conf", "dirs", "gtmk", "hash", "isro", "ruok", "srvr", "wchs"])
def test_answers_are_equal_line_by_line(word: str, both: tuple[Answers, Answers]) -> None:
    stock, ours = (lines(answers.words[word]) for answers in both)
    assert ours == stock


@pytest.mark.parametrize("word", ["cons", "stat"])
def test_connections_come_in_any_order(word: str, both: tuple[Answers, Answers]) -> None:
    stock, ours = (sorted(lines(answers.words[word])) for answers in both)
    assert ours == stock


@pytest.mark.parametrize("word", ["wchc", "wchp"])
def test_watches_come_in_any_order(word: str, both: tuple[Answers, Answers]) -> None:
    stock, ours = (grouped(answers.words[word]) for answers in both)
    assert ours == stock


def dump_parts(text: str) -> tuple[list[str], list[list[str]]]:
    """Lines of a dump without its buckets; the sorted members of each set of buckets.

    Which of two neighbouring buckets a member falls into is a matter of milliseconds, so buckets are only counted.
    """
    plain: list[str] = []
    sets: list[tuple[int, int, list[str]]] = []
    buckets: list[int] = []
    for line in lines(text):
        if head := re.fullmatch(r"(Session|Connections) Sets \((\d+)\)/\((\d+)\):", line):
            plain.append(head[1])
            sets.append((int(head[2]), int(head[3]), []))
            buckets.append(0)
        elif bucket := re.fullmatch(r"(\d+) expire at DATE:", line):
            buckets[-1] += int(bucket[1])
            plain.append("bucket")
        elif re.match(r"\t(ip: |SESSION)", line):
            sets[-1][2].append(line)
        else:
            plain.append(line)
    assert sum(size for size, _, _ in sets) == plain.count("bucket")
    assert [members for _, members, _ in sets] == buckets == [len(found) for _, _, found in sets]
    return sorted(line for line in plain if line != "bucket"), [sorted(found) for _, _, found in sets]


def test_dump(both: tuple[Answers, Answers]) -> None:
    stock, ours = (dump_parts(answers.words["dump"]) for answers in both)
    assert ours == stock
    assert [len(members) for members in ours[1]] == [4, 6]


def test_environment_has_the_keys_of_stock_and_two_of_python(both: tuple[Answers, Answers]) -> None:
    stock, ours = (answers.words["envi"].splitlines() for answers in both)
    keys = [[line.partition("=")[0] for line in some] for some in (stock, ours)]
    assert keys[1] == [*keys[0], "python.version", "python.implementation"]
    same = ("java.io.tmpdir", "java.compiler", "os.name", "os.arch", "os.version", "user.name", "user.home")
    values = [dict(line.partition("=")[::2] for line in some) for some in (stock, ours)]
    assert [values[1][key] for key in same] == [values[0][key] for key in same]
    assert all(re.fullmatch(r"\d+MB", values[1][f"os.memory.{what}"]) for what in ("free", "max", "total"))


def metrics(answers: Answers) -> dict[str, str]:
    """``mntr`` without the prefix of its names; every line must have one."""
    found = [re.fullmatch(r"zk_(\w+)\t(.+)", line) for line in answers.words["mntr"].splitlines()]
    return {line[1]: line[2] for line in found if line} | {"unreadable": str(found.count(None))}


def test_metrics_have_the_names_and_kinds_of_stock(both: tuple[Answers, Answers]) -> None:
    stock, ours = (metrics(answers) for answers in both)
    stock = {name: value for name, value in stock.items() if not NOT_HERE.match(name)}
    assert sorted(ours) == sorted(stock)
    assert ours["unreadable"] == "0"
    kinds = [
        {name: re.sub(r"\d+(?:E-?\d+)?", "0", value).lstrip("-") for name, value in some.items() if name != "version"}
        for some in (stock, ours)
    ]
    assert kinds[1] == kinds[0]


@pytest.mark.parametrize("name", EXACT)
def test_metrics_have_the_values_of_stock(name: str, both: tuple[Answers, Answers]) -> None:
    stock, ours = (metrics(answers)[name] for answers in both)
    assert ours == stock


@pytest.mark.parametrize("word", ["crst", "cons", "srst", "srvr", "stat"])
def test_counters_start_again(word: str, both: tuple[Answers, Answers]) -> None:
    stock, ours = (sorted(lines(answers.reset[word])) for answers in both)
    assert ours == stock


def test_trace_mask_and_unknown_words(both: tuple[Answers, Answers]) -> None:
    stock, ours = (answers.rest for answers in both)
    assert ours == stock == ("258", "258", "")


@pytest.mark.parametrize("word", [word for word in WORDS if word != "srvr"])
def test_whitelist(word: str, both: tuple[Answers, Answers]) -> None:
    stock, ours = (answers.refused[word] for answers in both)
    assert (
        ours == stock == ("imok" if word == "ruok" else f"{word} is not executed because it is not in the whitelist.\n")
    )
