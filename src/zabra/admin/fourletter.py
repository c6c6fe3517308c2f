"""The four-letter words, in the shape of Apache ZooKeeper 3.9.5 (``server/command/*.java``).

One function per word below; :func:`answer` finds it, after the whitelist. A word asked while the node is not serving
gets stock's one line, except for those that need no node.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from zabra.admin.status import FULL_VERSION, READ_ONLY, ConnectionStatus, MemberStatus, Peer, StatusSource
from zabra.auth.ip import address_text
from zabra.config.model import Settings
from zabra.consts import Op
from zabra.obs.metrics import Number
from zabra.paths import text_of
from zabra.zxid import to_signed64

NOT_SERVING: Final = "This ZooKeeper instance is not currently serving requests"
#: ``ZooTrace``: request, warning, session and server-packet tracing.
DEFAULT_TRACE_MASK: Final = 306

_MASK64: Final = (1 << 64) - 1
_VERSION_FOLDER: Final = "version-2"
_JAVA_ARCHITECTURES: Final = {"x86_64": "amd64"}

#: What ``cons`` calls the last request (``FinalRequestProcessor``).
_OP_NAMES: Final = {
    Op.PING: "PING",
    Op.CREATE_SESSION: "SESS",
    Op.MULTI: "MULT",
    Op.MULTI_READ: "MLTR",
    Op.CREATE: "CREA",
    Op.CREATE2: "CREA",
    Op.CREATE_TTL: "CREA",
    Op.CREATE_CONTAINER: "CREA",
    Op.DELETE: "DELE",
    Op.DELETE_CONTAINER: "DELE",
    Op.SET_DATA: "SETD",
    Op.RECONFIG: "RECO",
    Op.SET_ACL: "SETA",
    Op.CLOSE_SESSION: "CLOS",
    Op.SYNC: "SYNC",
    Op.CHECK: "CHEC",
    Op.EXISTS: "EXIS",
    Op.GET_DATA: "GETD",
    Op.SET_WATCHES: "SETW",
    Op.SET_WATCHES2: "STW2",
    Op.ADD_WATCH: "ADDW",
    Op.GET_ACL: "GETA",
    Op.GET_CHILDREN: "GETC",
    Op.GET_ALL_CHILDREN_NUMBER: "GETACN",
    Op.GET_CHILDREN2: "GETC",
    Op.CHECK_WATCHES: "CHKW",
    Op.REMOVE_WATCHES: "REMW",
    Op.WHO_AM_I: "HOMI",
    Op.GET_EPHEMERALS: "GETE",
}


def answer(word: str, source: StatusSource, *, extra: bytes = b"") -> bytes:
    """The bytes to send before the connection is closed; empty for what stock answers with a bare close.

    ``word`` is one of :data:`~zabra.config.model.FOUR_LETTER_WORDS`; ``extra`` is what followed it in the same chunk
    (``stmk`` carries eight bytes).
    """
    if word not in source.settings.four_letter_whitelist:
        return f"{word} is not executed because it is not in the whitelist.\n".encode()
    if word == "stmk":
        return _set_trace_mask(source, extra)
    function = _WORDS_ALWAYS.get(word)
    if function is None:
        function = _WORDS_SERVING.get(word)
        if function is None:
            return b""
        if not source.serving:
            # Stock ends this line in every word but hash.
            return (NOT_SERVING if word == "hash" else NOT_SERVING + "\n").encode()
    return "".join(function(source)).encode()


def _set_trace_mask(source: StatusSource, extra: bytes) -> bytes:
    if len(extra) < 8:
        return b""
    (source.trace_mask,) = struct.unpack(">q", extra[:8])
    return str(source.trace_mask).encode()


def _hex(value: int) -> str:
    """As ``Long.toHexString``: negative numbers as their 64 bits."""
    return f"{value & _MASK64:x}"


def _address(peer: Peer) -> str:
    """As Java prints a socket address that has no host name."""
    host = address_text(peer[0])
    return f"/[{host}]:{peer[1]}" if ":" in host else f"/{host}:{peer[1]}"


def _date(wall_ms: int) -> str:
    """As ``Date.toString``, in local time."""
    return time.strftime("%a %b %d %H:%M:%S %Z %Y", time.localtime(wall_ms / 1000))


def _ruok(_source: StatusSource) -> Iterator[str]:
    yield "imok"


def _gtmk(source: StatusSource) -> Iterator[str]:
    yield str(source.trace_mask)


def _isro(source: StatusSource) -> Iterator[str]:
    if not source.serving:
        yield "null"
    else:
        yield "ro" if source.mode == READ_ONLY else "rw"


def _conf(source: StatusSource) -> Iterator[str]:
    settings = source.settings
    yield f"clientPort={source.client_port}\n"
    yield "secureClientPort=-1\n"
    yield f"dataDir={_version_folder(settings.data_dir)}\n"
    yield f"dataDirSize={source.data_dir_size()}\n"
    yield f"dataLogDir={_version_folder(settings.data_log_dir)}\n"
    yield f"dataLogSize={source.log_dir_size()}\n"
    yield f"tickTime={settings.tick_time_ms}\n"
    yield f"maxClientCnxns={settings.max_client_cnxns}\n"
    yield f"minSessionTimeout={settings.min_session_timeout_ms}\n"
    yield f"maxSessionTimeout={settings.max_session_timeout_ms}\n"
    yield f"clientPortListenBacklog={settings.client_port_listen_backlog}\n"
    # A standalone server says 0 here, though its session ids carry a 1.
    yield f"serverId={settings.server_id if settings.is_distributed else 0}\n"
    if source.member is not None:
        yield from _conf_of_member(settings, source.member)
        if source.mode != READ_ONLY:
            yield "membership: \n"
            yield source.member.config.text()


def _conf_of_member(settings: Settings, member: MemberStatus) -> Iterator[str]:
    own = member.own
    yield f"initLimit={settings.init_limit}\n"
    yield f"syncLimit={settings.sync_limit}\n"
    yield "electionAlg=3\n"
    yield f"electionPort={'|'.join(dict.fromkeys(str(port) for _, _, port in own.addresses))}\n"
    yield f"quorumPort={'|'.join(dict.fromkeys(str(port) for _, port, _ in own.addresses))}\n"
    yield f"peerType={int(own.observer)}\n"


def _version_folder(folder: str) -> str:
    return os.path.join(os.path.abspath(folder), _VERSION_FOLDER)


def _connection(status: ConnectionStatus, *, brief: bool) -> str:
    text = f" {_address(status.peer)}[{status.interest:x}]("
    text += f"queued={status.queued},recved={status.received},sent={status.sent}"
    if not brief and status.session_id:
        last_op = "NA" if status.last_op is None else _OP_NAMES.get(status.last_op, "NA")
        text += f",sid=0x{_hex(status.session_id)},lop={last_op},est={status.established_ms},to={status.timeout_ms}"
        if status.last_cxid >= 0:
            text += f",lcxid=0x{_hex(status.last_cxid)}"
        text += f",lzxid=0x{_hex(status.last_zxid)},lresp={status.last_response_ms},llat={status.last_latency_ms}"
        text += f",minlat={status.min_latency_ms},avglat={status.avg_latency_ms},maxlat={status.max_latency_ms}"
    return text + ")\n"


def _cons(source: StatusSource) -> Iterator[str]:
    for status in source.connections():
        yield _connection(status, brief=False)
    yield "\n"


def _crst(source: StatusSource) -> Iterator[str]:
    source.reset_connection_stats()
    yield "Connection stats reset.\n"


def _srst(source: StatusSource) -> Iterator[str]:
    source.stats.reset()
    yield "Server stats reset.\n"


def _dirs(source: StatusSource) -> Iterator[str]:
    yield f"datadir_size: {source.data_dir_size()}\n"
    yield f"logdir_size: {source.log_dir_size()}\n"


def _dump(source: StatusSource) -> Iterator[str]:
    yield "SessionTracker dump:\n"
    local = source.local_session_buckets()
    if local is not None:
        yield from _buckets("Local Session", _session_buckets(local))
    sessions = source.session_buckets()
    if sessions is not None:
        yield from _buckets("Session" if local is None else "Global Session", _session_buckets(sessions))
    else:
        timeouts = source.session_timeouts()
        yield f"Global Sessions({len(timeouts)}):\n"
        for session_id in sorted(timeouts):
            yield f"0x{_hex(session_id)}\t{timeouts[session_id]}ms\n"
    yield "ephemeral nodes dump:\n"
    owners = list(source.ephemerals())
    yield f"Sessions with Ephemerals ({len(owners)}):\n"
    for session_id, paths in owners:
        yield f"0x{_hex(session_id)}:\n"
        yield from (f"\t{text_of(path)}\n" for path in paths)
    yield "Connections dump:\n"
    connections = [
        (when, [f"ip: {_address(peer)} sessionId: 0x{_hex(sid)}" for peer, sid in members])
        for when, members in source.connection_buckets()
    ]
    yield from _buckets("Connections", connections)


def _session_buckets(buckets: Iterable[tuple[int, list[int]]]) -> list[tuple[int, list[str]]]:
    return [(when, [f"0x{_hex(session_id)}" for session_id in ids]) for when, ids in buckets]


def _buckets(what: str, buckets: list[tuple[int, list[str]]]) -> Iterator[str]:
    """An ``ExpiryQueue``: how many buckets and members, then each bucket with its time."""
    yield f"{what} Sets ({len(buckets)})/({sum(len(members) for _, members in buckets)}):\n"
    for when, members in buckets:
        yield f"{len(members)} expire at {_date(when)}:\n"
        yield from (f"\t{member}\n" for member in members)


def _envi(_source: StatusSource) -> Iterator[str]:
    """Keys and order of stock. What only a JVM has is ``<NA>``, which stock prints for a property that is not set."""
    import platform

    megabyte = 1 << 20
    page, pages, free = _memory()
    yield "Environment:\n"
    yield f"zookeeper.version={FULL_VERSION}\n"
    yield f"host.name={_host_name()}\n"
    for name in ("version", "vendor", "home", "class.path", "library.path"):
        yield f"java.{name}=<NA>\n"
    yield "java.io.tmpdir=/tmp\n"  # whatever TMPDIR says, as a JVM on Linux
    yield "java.compiler=<NA>\n"
    yield f"os.name={platform.system()}\n"
    yield f"os.arch={_JAVA_ARCHITECTURES.get(platform.machine(), platform.machine())}\n"
    yield f"os.version={platform.release()}\n"
    yield f"user.name={_user_name()}\n"
    yield f"user.home={_user_home()}\n"
    yield f"user.dir={os.getcwd()}\n"
    yield f"os.memory.free={page * free // megabyte}MB\n"
    yield f"os.memory.max={page * pages // megabyte}MB\n"
    yield f"os.memory.total={page * pages // megabyte}MB\n"
    yield f"python.version={platform.python_version()}\n"
    yield f"python.implementation={sys.implementation.name}\n"


def _memory() -> tuple[int, int, int]:
    """Bytes per page, pages of the machine, pages free; zeros where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_AVPHYS_PAGES")
    except (OSError, ValueError):
        return 0, 0, 0


def _host_name() -> str:
    """The machine's own name. Stock asks the name service for the full one, which may block for seconds."""
    import socket

    return socket.gethostname() or "<NA>"


def _user_home() -> str:
    """The home folder of the user who runs the server: the system's record, not $HOME, as in a JVM."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_dir
    except (ImportError, KeyError):
        return os.path.expanduser("~")


def _user_name() -> str:
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return "<NA>"


def _hash(source: StatusSource) -> Iterator[str]:
    for zxid, digest in source.digest_log():
        yield f"{_hex(zxid)}: {to_signed64(digest)}\n"


def _mntr(source: StatusSource) -> Iterator[str]:
    yield f"zk_version\t{FULL_VERSION}\n"
    yield f"zk_server_state\t{source.mode}\n"
    member = source.member
    if member is not None and source.mode != READ_ONLY:
        yield f"zk_peer_state\t{member.peer_state}\n"
        if member.observer_master is not None:
            yield f"zk_observer_master_id\t{member.observer_master}\n"
    for name, value in source.stats.metrics.dump().items():
        yield f"zk_{name}\t{_number(value)}\n"


def _number(value: Number) -> str:
    """As Java prints it: whole numbers plain, others by ``Double.toString`` (exponent below 0.001 and from 10^7 on)."""
    if isinstance(value, int) or value == 0.0 or 1e-3 <= abs(value) < 1e7:
        return str(value)
    from decimal import Decimal

    sign, digits, _ = Decimal(repr(value)).normalize().as_tuple()
    exponent = Decimal(repr(value)).adjusted()
    rest = "".join(str(digit) for digit in digits[1:]) or "0"
    return f"{'-' if sign else ''}{digits[0]}.{rest}E{exponent}"


def _srvr(source: StatusSource) -> Iterator[str]:
    yield f"Zookeeper version: {FULL_VERSION}\n"
    yield from _read_only(source)
    yield from _summary(source)


def _stat(source: StatusSource) -> Iterator[str]:
    yield f"Zookeeper version: {FULL_VERSION}\n"
    yield from _read_only(source)
    yield "Clients:\n"
    for status in source.connections():
        yield _connection(status, brief=True)
    yield "\n"
    yield from _summary(source)


def _read_only(source: StatusSource) -> Iterator[str]:
    if source.mode == READ_ONLY:
        yield "READ-ONLY mode; serving only read-only clients\n"


def _summary(source: StatusSource) -> Iterator[str]:
    stats = source.stats
    yield f"Latency min/avg/max: {stats.min_latency_ms}/{_number(stats.avg_latency_ms)}/{stats.max_latency_ms}\n"
    yield f"Received: {stats.packets_received}\n"
    yield f"Sent: {stats.packets_sent}\n"
    yield f"Connections: {source.connection_count()}\n"
    yield f"Outstanding: {source.outstanding}\n"
    yield f"Zxid: 0x{_hex(source.last_zxid)}\n"
    yield f"Mode: {source.mode}\n"
    yield f"Node count: {source.node_count}\n"
    if source.mode == "leader":
        sizes = (stats.last_proposal_size, stats.min_proposal_size, stats.max_proposal_size)
        yield f"Proposal sizes last/min/max: {'/'.join(map(str, sizes))}\n"


def _wchs(source: StatusSource) -> Iterator[str]:
    counts = source.watch_counts()
    yield f"{counts.connections} connections watching {counts.paths} paths\n"
    yield f"Total watches:{counts.total}\n"


def _wchc(source: StatusSource) -> Iterator[str]:
    for session_id, paths in source.watches_by_session():
        yield f"0x{_hex(session_id)}\n"
        yield from (f"\t{text_of(path)}\n" for path in paths)
    yield "\n"


def _wchp(source: StatusSource) -> Iterator[str]:
    for path, session_ids in source.watches_by_path():
        yield f"{text_of(path)}\n"
        yield from (f"\t0x{_hex(session_id)}\n" for session_id in session_ids)
    yield "\n"


_Word = Callable[[StatusSource], Iterator[str]]
_WORDS_ALWAYS: Final[dict[str, _Word]] = {"ruok": _ruok, "gtmk": _gtmk, "envi": _envi, "isro": _isro}
_WORDS_SERVING: Final[dict[str, _Word]] = {
    "conf": _conf,
    "cons": _cons,
    "crst": _crst,
    "dirs": _dirs,
    "dump": _dump,
    "hash": _hash,
    "mntr": _mntr,
    "srst": _srst,
    "srvr": _srvr,
    "stat": _stat,
    "wchc": _wchc,
    "wchp": _wchp,
    "wchs": _wchs,
}
