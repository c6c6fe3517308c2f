"""Sessions that only their server knows: no transaction until they need one, and gone with their server."""

import pytest
from ensemble_rig import Ensemble
from rig import create_body, set_body, watch_body

from zabra.consts import Op
from zabra.errors import Code

EPHEMERAL = 1


@pytest.fixture
def make():
    made = []

    def ensemble(**settings):
        made.append(Ensemble(local_sessions_enabled=True, **settings))
        made[-1].start()
        client = made[-1].client(1)
        client.ok(Op.CREATE, create_body("/begun"))
        client.ok(Op.CLOSE_SESSION)
        return made[-1]

    yield ensemble
    for one in made:
        one.close()


def roles(ensemble):
    """A follower and the leader: what is said of one must hold on the other."""
    return next(sid for sid in ensemble.machines if sid != ensemble.leader), ensemble.leader


def global_sessions(ensemble):
    ensemble.level()
    return {sid: dict(machine.server.db.sessions) for sid, machine in ensemble.machines.items()}


def test_a_local_session_reads_and_writes_without_a_transaction_of_its_own(make):
    ensemble = make()
    for sid in roles(ensemble):
        before = ensemble.level()
        client = ensemble.client(sid)
        assert ensemble.level() == before, "no createSession"
        assert client.session_id >> 56 == sid
        path = f"/made-by-{sid}"
        client.ok(Op.CREATE, create_body(path))
        client.ok(Op.SET_DATA, set_body(path, b"data"))
        assert client.ok(Op.GET_DATA, watch_body(path))[4:8] == b"data"
        written = ensemble.level()
        client.ok(Op.CLOSE_SESSION)
        ensemble.run(1)
        assert ensemble.level() == written == before + 2, "no closeSession either"
    assert set(map(len, global_sessions(ensemble).values())) == {0}


def test_an_ephemeral_is_refused_where_sessions_are_not_upgraded(make):
    ensemble = make()
    for sid in roles(ensemble):
        client = ensemble.client(sid)
        for op in (Op.CREATE, Op.CREATE2):
            reply = client.ask(op, create_body("/mine", flags=EPHEMERAL))
            assert (reply.err, reply.body) == (Code.EPHEMERAL_ON_LOCAL_SESSION, b"")
        client.ok(Op.CREATE, create_body(f"/after-{sid}"))
    assert not any(machine.server.tree.ephemerals for machine in ensemble.machines.values())


def test_the_first_ephemeral_makes_a_session_known_to_all(make):
    ensemble = make(local_sessions_upgrading_enabled=True)
    for sid in roles(ensemble):
        client = ensemble.client(sid)
        assert ensemble[sid].server.status.local_session_count == 1
        for number in range(2):
            client.ok(Op.CREATE, create_body(f"/mine-{sid}-{number}", flags=EPHEMERAL))
        assert {client.session_id} == {next(iter(own)) for own in global_sessions(ensemble).values()}
        assert ensemble[sid].server.status.local_session_count == 0
        assert len(ensemble[3].server.tree.ephemerals[client.session_id]) == 2
        # It now moves like any other.
        client.leave()
        other = next(other for other in ensemble.machines if other != sid)
        assert client.connect(other)
        client.ok(Op.CLOSE_SESSION)
        ensemble.check_trees()
        assert not ensemble[sid].server.tree.ephemerals
    assert set(map(len, global_sessions(ensemble).values())) == {0}


def test_a_local_session_lives_where_it_was_made_only(make):
    ensemble = make()
    follower, leader = roles(ensemble)
    client = ensemble.client(follower)
    client.leave()
    ensemble.run(0.5)
    assert client.connect(follower), "its own server knows it"
    client.leave()
    ensemble.run(0.5)
    assert not client.connect(leader), "no other does"


def test_a_local_session_expires_by_its_own_server(make):
    ensemble = make()
    follower, _ = roles(ensemble)
    client = ensemble.client(follower, timeout_ms=2000)
    client.leave()
    ensemble.run(1)
    assert ensemble[follower].server.status.local_session_count == 1
    ensemble.run(3)
    assert ensemble[follower].server.status.local_session_count == 0
    assert not client.connect(follower)
    silent = ensemble.client(follower, timeout_ms=2000)
    ensemble.run(4)
    assert silent.lost, "the connection goes with it"


def test_the_leader_refuses_ephemerals_of_sessions_it_does_not_know(make):
    """Another server would have upgraded it first."""
    ensemble = make()
    follower, leader = roles(ensemble)
    client = ensemble.client(follower)
    client.ok(Op.CREATE, create_body("/plain"))
    pipeline = ensemble[leader].member.role.pipeline
    session = pipeline.sessions.get(client.session_id)
    assert session is None
    # As if the follower had no rule about them.
    inner = ensemble[follower].member.role.pipeline
    connection = next(iter(ensemble[follower].server.hub.connections))
    own = connection.session

    def forward():
        inner.submit(connection, own, 77, Op.CREATE, bytes(8) + create_body("/mine", flags=EPHEMERAL))
        connection._waiting.append(None)

    ensemble.do(forward, follower)
    ensemble.run(1)
    assert [reply.err for reply in client.replies()] == [Code.SESSION_EXPIRED]
