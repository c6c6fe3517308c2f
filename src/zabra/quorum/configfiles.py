"""Where a member of an ensemble keeps its membership: files beside ``zoo.cfg`` (see :mod:`zabra.config.dynamic`).

Each write replaces a whole file durably. The dynamic file is written before ``zoo.cfg`` points to it, and ``.next``
goes last, so that a crash in between leaves a membership that was right at some time. Nothing is written unless
``reconfigEnabled``; the caller sees to that.
"""

from __future__ import annotations

from zabra.config.dynamic import (
    BACKUP_SUFFIX,
    NEXT_SUFFIX,
    EnsembleConfig,
    dynamic_file_name,
    dynamic_file_text,
    edit_static_file,
    parse_config,
)
from zabra.runtime.ports import Disk


class ConfigFiles:
    """The files of one server. Every method may raise ``OSError``."""

    def __init__(self, disk: Disk, config_file: str, *, multi_address: bool = False) -> None:
        """``config_file`` is the absolute path of ``zoo.cfg``."""
        self._disk = disk
        self._config_file = config_file
        self._next_file = config_file + NEXT_SUFFIX
        self._multi_address = multi_address

    def back_up(self) -> None:
        """Keep ``zoo.cfg`` as its owner wrote it; for a start with the membership still in it (``backupOldConfig``)."""
        self._disk.write_atomic(self._config_file + BACKUP_SUFFIX, self._disk.read(self._config_file))

    def store_committed(self, config: EnsembleConfig, my_id: int) -> None:
        """``config`` is in force: store it, point ``zoo.cfg`` to it, and forget a proposed one that is not newer.

        Raises :class:`ConfigError` when ``zoo.cfg`` no longer parses.
        """
        own = config.members.get(my_id)
        erase = own is not None and own.client_port is not None
        dynamic_file = dynamic_file_name(self._config_file, config.version)
        edited = edit_static_file(self._disk.read(self._config_file), dynamic_file, erase_client_port=erase)
        self._disk.write_atomic(dynamic_file, dynamic_file_text(config, with_version=False).encode())
        self._disk.write_atomic(self._config_file, edited)
        proposed = self.read_proposed()
        if proposed is not None and proposed.version <= config.version:
            self._disk.unlink(self._next_file)

    def store_proposed(self, config: EnsembleConfig) -> None:
        """``config`` was proposed, or is the last one seen."""
        self._disk.write_atomic(self._next_file, dynamic_file_text(config, with_version=True).encode())

    def read_proposed(self) -> EnsembleConfig | None:
        """The last proposed membership, where one is kept. Raises :class:`ConfigError` when it does not parse."""
        if not self._disk.exists(self._next_file):
            return None
        text = self._disk.read(self._next_file).decode("iso-8859-1")
        return parse_config(text, multi_address=self._multi_address)
