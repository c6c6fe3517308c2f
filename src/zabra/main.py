"""The command line: what to run, how it ends, and with which exit code (``ExitCode`` of 3.9.5).

Imports are late on purpose: from process start to the first session the server must be faster than a JVM.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from zabra import ZOOKEEPER_VERSION, __version__
from zabra.errors import ConfigError, DataError

if TYPE_CHECKING:
    from zabra.config.model import Settings
    from zabra.config.parser import Configuration

EXIT_NORMAL: Final = 0
EXIT_UNEXPECTED: Final = 1
EXIT_INVOCATION: Final = 2

_USAGE: Final = """usage: zabra server [options] [-Dname=value ...] [zoo.cfg | port datadir [ticktime] [maxcnxns]]
       zabra ensemble [--servers 3] [--observers 0] [--apache 0] [--port 2181] [--folder ...]
       zabra cleanup [options] (zoo.cfg | dataLogDir [snapDir]) -n count
       zabra --version"""
_SERVER_HELP: Final = """
Runs one server until SIGTERM or SIGINT: a standalone one, or with server.N lines in zoo.cfg and a file myid in its
dataDir the member of an ensemble. Without a configuration it serves on 127.0.0.1:2181 and keeps its data in
$XDG_DATA_HOME/zabra/data (~/.local/share/zabra/data). docs/configuration.md lists every property.
exit codes: 0 stopped, 1 unexpected error, 2 bad invocation or configuration, 3 data folder cannot be used, 12 or 13 the
history does not fit that of the ensemble, 14 no election port can be bound
"""
_ARGUMENT_KEYS: Final = ("clientPort", "dataDir", "tickTime", "maxClientCnxns")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command ``argv`` (the process's arguments by default) and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not __debug__:
        return _refuse("python -O drops the checks this server needs to protect your data; start it without -O")
    command = arguments[0] if arguments else ""
    if command == "server":
        return _server(arguments[1:])
    if command == "cleanup":
        from zabra.tools.cleanup import main as cleanup

        return cleanup(arguments[1:])
    if command == "ensemble":
        from zabra.tools.ensemble import main as ensemble

        return ensemble(arguments[1:])
    if command in ("--version", "-V", "version"):
        print(f"Zabra {__version__}, speaks ZooKeeper {ZOOKEEPER_VERSION}")
        return EXIT_NORMAL
    if command in ("--help", "-h", "help"):
        print(_USAGE)
        return EXIT_NORMAL
    print(_USAGE, file=sys.stderr)
    return EXIT_INVOCATION


def _refuse(message: str) -> int:
    print(f"zabra: {message}", file=sys.stderr)
    return EXIT_INVOCATION


def _server(arguments: Sequence[str]) -> int:
    try:
        options = _server_parser().parse_intermixed_args(arguments)
    except SystemExit as exit_:
        return EXIT_NORMAL if exit_.code == 0 else EXIT_INVOCATION
    try:
        configuration = configure(options.configuration, options.definitions, os.environ)
        log_format, level = _log_options(options, configuration.settings)
    except ConfigError as error:
        return _refuse(str(error))
    import logging

    from zabra.obs import logs

    settings = configuration.settings
    name = options.name or _default_name(settings)
    logs.set_up(name, level=level, log_format=log_format)
    for warning in configuration.warnings:
        logging.getLogger("zabra.config").warning("%s", warning)
    return _run(settings, name)


def _default_name(settings: Settings) -> str:
    """What log lines call a server that nobody named."""
    member = f".{settings.server_id}" if settings.is_distributed else ""
    return f"zabra{member}:{settings.client_port}" if settings.client_port else f"zabra{member}[{os.getpid()}]"


def _server_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zabra server",
        usage=_USAGE.splitlines()[0].removeprefix("usage: "),
        description=_SERVER_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-D", dest="definitions", action="append", default=[], metavar="name=value", help="a property")
    parser.add_argument("--name", help="what log lines call this server (default: zabra[.<myid>]:<port>)")
    parser.add_argument("--log-level", help="debug, info, warning or error (or ZABRA_LOG_LEVEL; default: info)")
    parser.add_argument("--log-format", help="text or json (or ZABRA_LOG_FORMAT; default: text)")
    parser.add_argument("configuration", nargs="*", help="zoo.cfg, or port datadir [ticktime] [maxcnxns]")
    return parser


def configure(words: Sequence[str], definitions: Sequence[str], environment: Mapping[str, str]) -> Configuration:
    """The configuration that plain arguments, ``-D`` texts and the environment describe.

    One word is a ``zoo.cfg``; two to four are ``port datadir [ticktime] [maxcnxns]`` (``ZooKeeperServerMain``); none
    is a server on 127.0.0.1 with a data folder of its own. Raises :class:`ConfigError`.
    """
    from zabra.config.parser import load, split_definition

    pairs = [split_definition(text) for text in definitions]
    if len(words) == 1:
        return load(config_file=words[0], definitions=pairs, environment=environment)
    if not words:
        defaults = {"clientPort": "2181", "clientPortAddress": "127.0.0.1", "dataDir": default_data_dir(environment)}
        return load(definitions=pairs, environment=environment, defaults=defaults)
    if len(words) <= len(_ARGUMENT_KEYS):
        arguments = dict(zip(_ARGUMENT_KEYS, words, strict=False))
        bare = {"maxClientCnxns": "0"}
        return load(definitions=pairs, environment=environment, arguments=arguments, defaults=bare)
    raise ConfigError("expected zoo.cfg, or port datadir [ticktime] [maxcnxns]")


def default_data_dir(environment: Mapping[str, str]) -> str:
    """The folder of a server that nobody gave one, below ``$XDG_DATA_HOME`` or ``~/.local/share``."""
    base = environment.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    return os.path.join(base, "zabra", "data")


def _log_options(options: argparse.Namespace, settings: Settings) -> tuple[str, str]:
    """Format and level. Raises :class:`ConfigError` for what is neither."""
    from zabra.obs.logs import FORMATS, level_of

    log_format = options.log_format or os.environ.get("ZABRA_LOG_FORMAT") or "text"
    if log_format not in FORMATS:
        raise ConfigError(f"log format {log_format}: expected {' or '.join(FORMATS)}")
    wanted = (
        options.log_level
        or os.environ.get("ZABRA_LOG_LEVEL")
        or settings.properties.get("zookeeper.console.threshold")
        or "INFO"
    )
    level = level_of(wanted)
    if level is None:
        raise ConfigError(f"log level {wanted}: expected debug, info, warning or error")
    return log_format, level


def _run(settings: Settings, name: str) -> int:
    """Serve until stopped; every way a start can fail is one line and an exit code."""
    import socket

    from zabra.quorum.mesh import BindError
    from zabra.runtime.real import run

    _stop_at_once_on_signal()
    try:
        return run(_serve(settings, name))
    except ConfigError as error:
        return _refuse(str(error))
    except (DataError, BindError) as error:
        print(f"zabra: {error}", file=sys.stderr)
        return error.exit_code
    except socket.gaierror as error:
        return _refuse(f"clientPortAddress={settings.client_port_address}: expected a known host: {error.strerror}")
    except OSError as error:
        print(f"zabra: {_os_error(error)}", file=sys.stderr)
        return EXIT_UNEXPECTED


def _stop_at_once_on_signal() -> None:
    """Until the server runs, a signal ends the process: nobody was promised anything yet, and files survive a crash."""
    import signal

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: os._exit(EXIT_NORMAL))


async def _serve(settings: Settings, name: str) -> int:
    """Start, say so in one line, wait for a signal or for the server's own end, stop. The exit code."""
    import asyncio
    import gc
    import signal

    from zabra.node import Server
    from zabra.runtime.real import real_runtime

    server = Server(settings, real_runtime(), name=name)
    await server.start()
    # A batch keeps some thousand objects for a moment, and creates leave some for good until they are frozen
    # (node_serving.py): the collector need look at neither. With the usual 700 it would look at each of them twice.
    gc.set_threshold(50_000, 10, 10)
    loop = asyncio.get_running_loop()
    stop_asked: asyncio.Future[None] = loop.create_future()

    def ask_to_stop() -> None:
        # A second signal while stopping finds the future done and changes nothing.
        if not stop_asked.done():
            stop_asked.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask_to_stop)
    print(_ready_line(settings, server.client_port), flush=True)
    await asyncio.wait((stop_asked, server.stopped), return_when=asyncio.FIRST_COMPLETED)
    if not server.stopped.done():
        await server.stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # One that comes while the loop is taken down must not turn a clean end into another.
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
    return server.stopped.result()


def _ready_line(settings: Settings, port: int) -> str:
    """Which member this is, where it listens and where the data lies."""
    host = settings.client_port_address or "0.0.0.0"
    shown = f"[{host}]" if ":" in host else host
    where = f"listens on {shown}:{port}" if settings.client_port is not None else "listens nowhere"
    logs = f", transaction logs in {settings.data_log_dir}" if settings.data_log_dir != settings.data_dir else ""
    member = ""
    if settings.ensemble is not None:
        own, count = settings.ensemble.members[settings.server_id], len(settings.ensemble.members)
        member = f"is server.{own.sid}, {'an observer' if own.observer else 'a participant'} of {count} servers, "
    return f"Zabra {__version__} (ZooKeeper {ZOOKEEPER_VERSION}) {member}{where}, data in {settings.data_dir}{logs}"


def _os_error(error: OSError) -> str:
    """What went wrong, with the file it went wrong with."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason
