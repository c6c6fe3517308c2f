"""A node that shows what it is told to show."""

import pytest

from zabra.admin.status import ConnectionStatus, WatchCounts
from zabra.config.model import FOUR_LETTER_WORDS, Settings
from zabra.obs.metrics import Metrics
from zabra.obs.stats import ServerStats

SESSION = 0x1000089DB2F0000


class FakeSource:
    """State as a one-session server has it; tests change attributes."""

    def __init__(self, **settings):
        settings.setdefault("four_letter_whitelist", frozenset(FOUR_LETTER_WORDS))
        self.settings = Settings(data_dir="/tmp/oz/data", client_port=23981, tick_time_ms=2000, **settings)
        self.stats = ServerStats(Metrics())
        self.trace_mask = 306
        self.serving = True
        self.mode = "standalone"
        self.member = None
        self.client_port = 23981
        self.last_zxid = 3
        self.outstanding = 0
        self.uptime_ms = 2515
        self.node_count = 7
        self.watch_count = 2
        self.ephemeral_count = 1
        self.data_size = 49
        self.session_count = 1
        self.local_session_count = 0
        self.connection_drop_probability = 0.0
        self.expiring = [(1795488074000, [SESSION])]
        self.local = None
        self.digests = []
        self.quotas = {}
        self.resets = 0

    def data_dir_size(self):
        return 67109358

    def log_dir_size(self):
        return 67109359

    def connections(self):
        own = ConnectionStatus(("127.0.0.1", 47134), 0, 0, 1, 0)
        client = ConnectionStatus(
            ("127.0.0.1", 47114), 1, 0, 5, 5, SESSION, 8, 1795488063761, 10000, 4, 3, 9036979, 2, 0, 4, 10
        )
        fresh = ConnectionStatus(("::1", 47152), 1, 0, 0, 0, -5, None, 1795488063761, 10000)
        return [own, client, fresh]

    def connection_count(self):
        return 3

    def reset_connection_stats(self):
        self.resets += 1

    def session_buckets(self):
        return self.expiring

    def session_timeouts(self):
        return {SESSION: 30000, 7: 4000}

    def local_session_buckets(self):
        return self.local

    def connection_buckets(self):
        return [(1795488076000, [(("127.0.0.1", 47182), 0), (("127.0.0.1", 47114), SESSION)])]

    def ephemerals(self):
        return [(SESSION, [b"/e"])]

    def watch_counts(self):
        return WatchCounts(2, 2, 3)

    def watches_by_session(self):
        return [(SESSION, [b"/a"]), (SESSION + 1, [b"/a", b"/e"])]

    def watches_by_path(self):
        return [(b"/a", [SESSION, SESSION + 1]), (b"/e", [SESSION + 1])]

    def digest_log(self):
        return self.digests

    def quota_gauges(self):
        return self.quotas


@pytest.fixture
def make_source():
    """Makes fake nodes; keyword arguments are settings."""
    return FakeSource


@pytest.fixture
def source():
    """A fake node that allows every word."""
    return FakeSource()
