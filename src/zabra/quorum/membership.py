"""The memberships that one server knows: the committed one, and the last one it has seen proposed (``QuorumPeer``)."""

from __future__ import annotations

import logging
from collections.abc import Callable

from zabra.config.dynamic import EnsembleConfig, parse_config
from zabra.config.model import ServerLine
from zabra.quorum.configfiles import ConfigFiles
from zabra.zab.quorums import QuorumVerifier, ReadOracle, make_verifier

_log = logging.getLogger(__name__)


class Membership:
    """Both, in memory and in the files beside ``zoo.cfg``. Methods that store may raise ``OSError``."""

    def __init__(
        self,
        my_id: int,
        committed: EnsembleConfig,
        files: ConfigFiles | None,
        *,
        reconfig_enabled: bool,
        multi_address: bool = False,
        read_oracle: ReadOracle | None = None,
    ) -> None:
        """``files`` None: there is no ``zoo.cfg`` to write beside. Nothing changes unless ``reconfig_enabled``."""
        self.my_id = my_id
        self.reconfig_enabled = reconfig_enabled
        self._files = files
        self._multi_address = multi_address
        self._read_oracle = read_oracle
        self.verifier = self.make(committed)
        #: The last proposed one where it is newer than the committed one, else None.
        self.proposed: QuorumVerifier | None = None
        #: Called after either has changed.
        self.on_change: Callable[[], None] = lambda: None

    def make(self, config: EnsembleConfig) -> QuorumVerifier:
        """The quorums of a membership."""
        return make_verifier(config, self._read_oracle)

    def load_proposed(self) -> None:
        """Take the last proposed membership that an earlier run has left. Raises :class:`ConfigError`."""
        if self._files is None or not self.reconfig_enabled:
            return
        found = self._files.read_proposed()
        if found is not None and found.version > self.verifier.version:
            self.proposed = self.make(found)

    @property
    def last_seen(self) -> QuorumVerifier:
        """The last proposed membership; the committed one where none is newer."""
        return self.proposed if self.proposed is not None else self.verifier

    @property
    def config(self) -> EnsembleConfig:
        """The committed membership."""
        return self.verifier.config

    @property
    def own(self) -> ServerLine | None:
        """This server's line in it; None for one that was removed, or has yet to join."""
        return self.config.members.get(self.my_id)

    @property
    def is_observer(self) -> bool:
        """Whether this server has no vote and says so (``LearnerType``)."""
        return self.my_id in self.verifier.observers

    def line_of(self, sid: int) -> ServerLine | None:
        """Where a server is, as far as either membership tells."""
        for config in (self.config, self.last_seen.config):
            if sid in config.members:
                return config.members[sid]
        return None

    def parse(self, text: bytes) -> EnsembleConfig:
        """A membership as packets carry it. Raises :class:`ConfigError`."""
        return parse_config(text.decode("utf-8", "replace"), multi_address=self._multi_address)

    def see(self, config: EnsembleConfig) -> None:
        """``config`` was proposed: it is on disk when this returns (``setLastSeenQuorumVerifier``)."""
        if not self.reconfig_enabled or config.version <= self.last_seen.version:
            return
        if self._files is not None:
            self._files.store_proposed(config)
        self.proposed = self.make(config)
        self.on_change()

    def commit(self, config: EnsembleConfig) -> bool:
        """``config`` is in force, and on disk when this returns (``setQuorumVerifier``); False for one not newer."""
        if not self.reconfig_enabled or config.version <= self.verifier.version:
            return False
        if self._files is not None:
            self._files.store_committed(config, self.my_id)
        self.verifier = self.make(config)
        if self.proposed is not None and self.proposed.version <= config.version:
            self.proposed = None
        _log.info("membership of version %x: %s", config.version, ", ".join(config.lines()))
        self.on_change()
        return True
