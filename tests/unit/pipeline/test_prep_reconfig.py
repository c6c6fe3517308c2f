"""reconfig: from the membership seen last to a new one, and which of two errors wins.

``tests/golden/reconfig_errors.tsv`` holds requests of somebody who may not write the config node, and the error that
Apache's leader answers; tests/compat/test_reconfig_errors.py asks it again.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from struct import pack

import pytest
from rig import Client, Rig, Stat, stat_of, watch_body

from zabra import paths
from zabra.config.dynamic import EnsembleConfig, parse_config
from zabra.consts import Op
from zabra.errors import Code
from zabra.pipeline.prep_reconfig import Reconfiguration
from zabra.pipeline.request import Proposal, Write
from zabra.tree.config_node import write_config
from zabra.wire.records_proto import ReconfigRequest
from zabra.wire.records_txn import SetDataTxn
from zabra.wire.txns import decode_txn
from zabra.zab.quorums import make_verifier

VERSION = 0x1_00000000
LINES = {f"{sid}": f"127.0.0.1:{sid}1:{sid}2:participant;127.0.0.1:{sid}3" for sid in range(1, 5)}
GOLDEN = Path(__file__).parents[2] / "golden" / "reconfig_errors.tsv"


def config_of(*sids: str, version: int = VERSION) -> EnsembleConfig:
    return parse_config("\n".join(f"server.{sid}={LINES[sid]}" for sid in sids)).with_version(version)


class Ensemble:
    """The leader's view: 1, 2 and 3 are members, connected and in sync."""

    def __init__(self) -> None:
        self.committed = self.last_seen = config_of("1", "2", "3")
        self.synced = {1, 2, 3}

    def has_quorum(self, config: EnsembleConfig) -> bool:
        return make_verifier(config).contains_quorum(self.synced)


class Leader:
    """A leader's stages around an ensemble, and a client of its own."""

    def __init__(self, *, super_user: bool = True, **more: bool) -> None:
        self.ensemble = Ensemble()
        self.rig = Rig(reconfig_enabled=True, skip_acl=super_user)
        self.rig.tree.last_zxid = self.rig.prep.zxid = VERSION
        write_config(self.rig.tree, self.ensemble.committed, 1)
        self.rig.prep.reconfiguration = Reconfiguration(self.ensemble, **more)
        self.client = self.rig.client()

    def ask(self, **fields: str | int | None) -> tuple[int, bytes]:
        return self.client.call(Op.RECONFIG, request(**fields))

    def code(self, **fields: str | int | None) -> int:
        err, body = self.ask(**fields)
        assert err == 0 or not body
        return err


def request(
    joining: str | None = None, leaving: str | None = None, new_members: str | None = None, from_: int = -1
) -> bytes:
    return ReconfigRequest(joining, leaving, new_members, from_).encode()


def node(client: Client) -> tuple[bytes, Stat]:
    """Data and stat of the config node, as a client reads it."""
    err, body = client.call(Op.GET_DATA, watch_body("/zookeeper/config"))
    assert err == 0
    return body[4:-68], stat_of(body)


def golden() -> list[dict[str, str]]:
    with GOLDEN.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.parametrize("row", golden(), ids=lambda row: " ".join(row.values()))
def test_errors_are_those_of_apache(row: dict[str, str]) -> None:
    """Nobody may write the config node here, so that -102 means that all else was fine."""
    leader = Leader(super_user=False)
    texts = [row[name] for name in ("joining", "leaving", "new_members")]
    for sid, line in LINES.items():
        texts = [text.replace(f"{{{sid}}}", line) for text in texts]
    from_ = VERSION if row["from"] == "{version}" else int(row["from"])
    joining, leaving, new_members = (None if text == "-" else text for text in texts)
    assert leader.code(joining=joining, leaving=leaving, new_members=new_members, from_=from_) == int(row["code"])
    header, _, _ = decode_txn(leader.rig.log.durable[-1])
    assert (header.type, header.zxid) == (Op.ERROR, VERSION + 2), "a refusal takes a zxid"
    assert paths.CONFIG not in leader.rig.prep.pending.changes


def test_a_change_is_a_transaction_on_the_config_node() -> None:
    leader = Leader()
    leader.rig.clock.wall = 1_700_000_000_123
    digest = leader.rig.tree.digest
    err, body = leader.ask(leaving="3", joining=f"server.4={LINES['4'].replace('participant', 'observer')}")
    text = (
        b"server.1=127.0.0.1:11:12:participant;127.0.0.1:13\nserver.2=127.0.0.1:21:22:participant;127.0.0.1:23\n"
        b"server.4=127.0.0.1:41:42:observer;127.0.0.1:43\nversion=100000002"
    )
    assert err == 0
    assert body[:-68] == pack(">i", len(text)) + text
    zxid = VERSION + 2
    assert stat_of(body) == Stat(0, zxid, 0, 1_700_000_000_123, -1, 0, -1, 0, len(text), 0, 0)
    assert node(leader.client) == (text, stat_of(body))
    header, txn, txn_digest = decode_txn(leader.rig.log.durable[-1])
    assert (header.type, header.zxid, txn) == (Op.RECONFIG, zxid, SetDataTxn(paths.CONFIG, text, -1))
    assert txn_digest is not None
    assert txn_digest.digest & (1 << 64) - 1 == digest == leader.rig.tree.digest


def test_the_write_carries_the_membership() -> None:
    """The leader needs it to count the quorums of its proposal."""
    leader = Leader()
    seen = []
    propose = leader.rig.prep.propose

    def watch(payloads: Sequence[bytes], writes: Sequence[Proposal]) -> None:
        seen.extend(writes)
        propose(payloads, writes)

    leader.rig.prep.propose = watch
    leader.ask(leaving="3")
    leader.ask(leaving="x")
    change, refused = seen
    assert isinstance(change, Write)
    assert change.config is not None
    assert change.config.text().encode() == node(leader.client)[0]
    assert isinstance(refused, Write)
    assert refused.config is None


def test_watchers_of_the_config_node_hear_of_it() -> None:
    leader = Leader()
    watcher = leader.rig.client()
    watcher.call(Op.GET_DATA, watch_body("/zookeeper/config", True))
    assert leader.code(leaving="3") == 0
    (event,) = watcher.events()
    assert (event.type, event.path, event.zxid) == (3, paths.CONFIG, VERSION + 3)


def test_all_new_members_may_be_given_in_lines() -> None:
    leader = Leader()
    text = config_of("1", "2").text().replace("version=100000000", "version=7")
    assert leader.code(new_members=text) == 0
    assert node(leader.client)[0] == config_of("1", "2", version=VERSION + 2).text().encode()


def test_hierarchical_quorums_are_changed_as_a_whole() -> None:
    leader = Leader()
    grouped = config_of("1", "2", "3").text() + "\ngroup.1=1:2:3\nversion=100000000"
    leader.ensemble.committed = leader.ensemble.last_seen = parse_config(grouped)
    assert leader.code(leaving="3") == Code.BAD_ARGUMENTS
    assert leader.code(new_members=grouped.replace("1:2:3", "1:2").replace("server.3", "#")) == 0
    assert b"group.1=1:2\nweight.1=1\nweight.2=1\n" in node(leader.client)[0]


def test_an_oracle_leaves_no_groups() -> None:
    leader = Leader(oracle=True)
    members = config_of("1", "2").text() + "\ngroup.1=1:2\nweight.1=3"
    assert leader.code(new_members=members) == 0
    assert node(leader.client)[0] == config_of("1", "2", version=VERSION + 2).text().encode()


def test_one_change_at_a_time() -> None:
    """In progress from the proposal on, before the leader has had its turn, until the change is in force."""
    leader = Leader()
    client = leader.client
    client.request(Op.RECONFIG, request(leaving="3"), run=False)
    client.request(Op.RECONFIG, request(leaving="x", from_=9), run=False)
    leader.rig.work()
    assert [reply.err for reply in client.replies()] == [0, Code.RECONFIG_IN_PROGRESS]
    leader.ensemble.last_seen = config_of("1", "2", version=VERSION + 2)
    assert leader.code() == Code.RECONFIG_IN_PROGRESS
    leader.ensemble.committed = leader.ensemble.last_seen
    assert leader.code(from_=VERSION) == Code.BAD_VERSION
    assert leader.code(from_=VERSION + 2) == 0


def test_one_that_another_leader_left_is_in_progress_too() -> None:
    leader = Leader()
    leader.ensemble.last_seen = config_of("1", "2", version=VERSION + 2)
    assert leader.code() == Code.RECONFIG_IN_PROGRESS


def test_a_quorum_of_the_new_members_must_be_in_sync() -> None:
    leader = Leader()
    leader.ensemble.synced = {1, 4}
    joining = f"server.4={LINES['4']}"
    assert leader.code(joining=joining) == Code.NEW_CONFIG_NO_QUORUM
    assert leader.code(joining=joining, leaving="2") == 0


def test_how_few_participants_may_be_left() -> None:
    for standalone_enabled, code in ((True, Code.BAD_ARGUMENTS), (False, 0)):
        assert Leader(standalone_enabled=standalone_enabled).code(leaving="2,3") == code
    nobody = Leader(standalone_enabled=False)
    assert nobody.code(leaving="1,2,3") == Code.BAD_ARGUMENTS
    assert nobody.code(new_members="version=1") == Code.MARSHALLING_ERROR
    assert Leader().code(new_members="version=1") == Code.BAD_ARGUMENTS


def test_several_addresses_need_the_switch() -> None:
    joining = "server.4=10.0.0.1:1:2|10.0.0.2:1:2:observer;3"
    assert Leader().code(joining=joining) == Code.BAD_ARGUMENTS
    assert Leader(multi_address=True).code(joining=joining) == 0


@pytest.mark.parametrize(
    ("other", "code"),
    [
        ("A.example:5:6;7", Code.BAD_ARGUMENTS),
        ("b.example:5:6;7", 0),
        ("localhost:1:2;3", 0),
        ("[::1]:1:2;3", 0),
        ("0.0.0.0:1:2;3", 0),
    ],
)
def test_hosts_are_compared_as_they_are_written(other: str, code: int) -> None:
    one = "server.4=a.example:5:6:observer;7,server.5=localhost:1:2:observer;3,server.6=[::1]:1:2:observer;3"
    joining = f"{one},server.7=0.0.0.0:1:2:observer;3,server.8={other.replace(';', ':observer;')}"
    assert Leader().code(joining=joining) == code


def test_a_session_that_ends_changes_nothing() -> None:
    leader = Leader()
    session = leader.rig.sessions.get(leader.client.session_id)
    assert session is not None
    session.closing = True
    write = leader.rig.prep.begin(None, 1, Op.RECONFIG)
    for enabled, code in ((True, Code.SESSION_EXPIRED), (False, Code.RECONFIG_DISABLED)):
        leader.rig.prep.reconfig_enabled = enabled
        with pytest.raises(Exception, match=str(code)):
            leader.rig.prep.plan(write, session, Op.RECONFIG, ReconfigRequest(None, "x", None, 9), ())
