"""``zabra cleanup``: remove old snapshots and transaction logs by hand (``PurgeTxnLog``, ``zkCleanup.sh`` of 3.9.5)."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Final

from zabra.errors import ConfigError

#: Stock leaves with this code for bad arguments too.
EXIT_FAILED: Final = 1
_VERSION_FOLDER: Final = "version-2"
_DESCRIPTION: Final = """
Keeps the newest COUNT snapshots (at least 3) and every transaction log they need; removes older ones. The server may be
running. Folders are those of zoo.cfg (dataLogDir first), or the zoo.cfg itself.
"""


def main(arguments: Sequence[str]) -> int:
    """Purge what ``arguments`` name, one line per removed file on standard output. Returns the exit code."""
    try:
        options = _parser().parse_intermixed_args(arguments)
    except SystemExit as exit_:
        return 0 if exit_.code == 0 else EXIT_FAILED
    try:
        log_folder, snapshot_folder = _folders(options.places)
        removed = _purge(log_folder, snapshot_folder, options.count, dry_run=options.dry_run)
    except (ConfigError, ValueError) as error:
        print(f"zabra cleanup: {error}", file=sys.stderr)
        return EXIT_FAILED
    except OSError as error:
        print(f"zabra cleanup: {error.filename}: {error.strerror}", file=sys.stderr)
        return EXIT_FAILED
    print(f"{removed} files {'would be ' if options.dry_run else ''}removed")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zabra cleanup",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("places", nargs="+", metavar="folder", help="zoo.cfg, or dataLogDir [snapDir]")
    parser.add_argument("-n", dest="count", type=int, required=True, help="snapshots to keep, 3 or more")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    return parser


def _folders(places: Sequence[str]) -> tuple[str, str]:
    """The folders of logs and of snapshots, the ``version-2`` ones. Raises ValueError or :class:`ConfigError`."""
    if len(places) > 2:
        raise ValueError("expected zoo.cfg, or dataLogDir [snapDir]")
    if len(places) == 1 and os.path.isfile(places[0]):
        from zabra.config.parser import load

        settings = load(config_file=places[0], environment=os.environ).settings
        log_dir, data_dir = settings.data_log_dir, settings.data_dir
    else:
        log_dir, data_dir = places[0], places[-1]
    folders = os.path.join(log_dir, _VERSION_FOLDER), os.path.join(data_dir, _VERSION_FOLDER)
    for folder in folders:
        if not os.path.isdir(folder):
            raise ValueError(f"{folder} does not exist: expected the data folder of a server")
    return folders


def _purge(log_folder: str, snapshot_folder: str, count: int, *, dry_run: bool) -> int:
    """Remove, or only name, what can go; how many files that is."""
    from zabra.runtime.disk import RealDisk
    from zabra.storage.purge import files_to_purge, purge

    disk = RealDisk()
    paths = files_to_purge(disk, log_folder, snapshot_folder, count)
    for path in paths:
        changed = _changed(path)
        if not dry_run:
            purge(disk, [path])
        print(f"Removing file: {changed}\t{path}", flush=True)
    return len(paths)


def _changed(path: str) -> str:
    """When the file was last written, as ``DateFormat`` spells it in English."""
    try:
        when = time.localtime(os.stat(path).st_mtime)
    except OSError:
        return "-"
    return (
        f"{time.strftime('%b', when)} {when.tm_mday}, {when.tm_year}, {time.strftime('%I:%M:%S %p', when).lstrip('0')}"
    )
