"""A server that is cut off serves reads to clients that will do with that, until there is a quorum again."""

import pytest
from ensemble_rig import Ensemble
from rig import create_body, delete_body, set_body, watch_body

from zabra.consts import Op
from zabra.errors import Code


@pytest.fixture
def make():
    made = []

    def ensemble(**settings):
        settings = {"readonly_mode_enabled": True, "local_sessions_enabled": True} | settings
        made.append(Ensemble(**settings))
        made[-1].start()
        return made[-1]

    yield ensemble
    for one in made:
        one.close()


def cut_off(ensemble):
    """One that is left alone; its id."""
    client = ensemble.client(1)
    client.ok(Op.CREATE, create_body("/kept", b"data"))
    ensemble.level()
    ensemble.kill(2, 3)
    ensemble.wait(lambda: ensemble[1].mode == "read-only")
    return 1


def reader(ensemble, sid):
    client = ensemble.stranger()
    client.read_only = True
    assert client.connect(sid)
    assert client.cut_off
    return client


def test_it_reads_and_refuses_to_write(make):
    ensemble = make()
    sid = cut_off(ensemble)
    client = reader(ensemble, sid)
    assert client.ok(Op.GET_DATA, watch_body("/kept"))[4:8] == b"data"
    for op, body in (
        (Op.CREATE, create_body("/new")),
        (Op.CREATE2, create_body("/new")),
        (Op.SET_DATA, set_body("/kept", b"x")),
        (Op.DELETE, delete_body("/kept")),
        (Op.MULTI, b"\xff\xff\xff\xff\x01\xff\xff\xff\xff"),
        (Op.SYNC, (5).to_bytes(4, "big") + b"/kept"),
    ):
        reply = client.ask(op, body)
        assert (reply.err, reply.body) == (Code.NOT_READ_ONLY, b""), op
    assert client.ok(Op.GET_DATA, watch_body("/kept"))[4:8] == b"data"
    client.ok(Op.CLOSE_SESSION)
    ensemble.run(1)
    assert client.lost


def test_only_clients_that_asked_for_it_are_let_in(make):
    ensemble = make()
    sid = cut_off(ensemble)
    stranger = ensemble.stranger()
    assert not stranger.connect(sid)
    assert stranger.lost


def test_a_quorum_ends_it(make):
    ensemble = make()
    sid = cut_off(ensemble)
    client = reader(ensemble, sid)
    ensemble.start(2)
    ensemble.wait(lambda: client.lost)
    ensemble.wait_serving(1, 2)
    client.session_id, client.password = 0, bytes(16)
    assert client.connect(sid)
    assert not client.cut_off, "it has a quorum again"
    client.ok(Op.CREATE, create_body("/new"))


def test_without_local_sessions_nobody_gets_a_new_one(make):
    ensemble = make(local_sessions_enabled=False)
    sid = cut_off(ensemble)
    client = ensemble.stranger()
    client.read_only = True
    client.greet(sid)
    ensemble.until(lambda: bool(client.frames), 5)
    (frame,) = client.frames
    assert int.from_bytes(frame[-4:], "big", signed=True) == Code.NOT_READ_ONLY
    assert len(frame) == 16, "a bare reply header"


def test_a_session_of_the_ensemble_is_turned_away_and_lives_on(make):
    ensemble = make(local_sessions_enabled=False)
    client = ensemble.client(1, timeout_ms=60000)
    client.read_only = True
    sid = cut_off(ensemble)
    assert client.lost
    assert not client.connect(sid)
    assert client.lost, "closed without a word: it is not expired"
    ensemble.boot(2)
    ensemble.wait(lambda: ensemble[1].mode in ("leader", "follower") and ensemble[1].serving)
    assert client.connect(sid)
    client.ok(Op.CREATE, create_body("/new"))


def test_it_begins_after_two_seconds_and_one_tick_at_least(make):
    ensemble = make()
    ensemble.kill(2, 3)
    ensemble.wait(lambda: ensemble[1].mode == "looking")
    assert not ensemble.until(lambda: ensemble[1].serving, 1.9)
    assert ensemble.until(lambda: ensemble[1].serving, 0.2)


def test_servers_that_must_not_do_not(make):
    ensemble = make(readonly_mode_enabled=False)
    ensemble.kill(2, 3)
    assert not ensemble.until(lambda: ensemble[1].mode == "read-only", 60)
    assert not ensemble[1].serving
