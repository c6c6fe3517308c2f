"""Auth and SASL packets, and connections that must authenticate first."""

from __future__ import annotations

from struct import pack

import pytest
from rig import Client, Rig, create_body, path, set_body, watch_body

from zabra.consts import Op
from zabra.errors import Code
from zabra.wire.primitives import pack_buffer

KEY = (("1", "org.apache.zookeeper.server.auth.KeyAuthenticationProvider"),)
ENSEMBLE = (("1", "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider"),)


def auth_body(scheme: str, data: bytes | None) -> bytes:
    return pack(">i", 0) + path(scheme) + pack_buffer(data)


def test_an_auth_packet_is_answered_with_zxid_0(client: Client) -> None:
    client.call(Op.CREATE, create_body("/a"))
    client.request(Op.AUTH, auth_body("digest", b"me:secret"), xid=-4)
    assert client.replies() == [(-4, 0, 0, b"")]
    assert [scheme for scheme, _ in client.connection.identities] == ["ip", "digest"]


def test_several_identities_are_held_once_each(client: Client) -> None:
    for user in (b"a:1", b"b:2", b"a:1"):
        assert client.auth("digest", user) == 0
    assert [text.partition(":")[0] for _, text in client.connection.identities] == ["127.0.0.1", "a", "b"]


@pytest.mark.parametrize(("scheme", "data"), [("nobody", b"x"), ("digest", None), ("world", b"anyone"), ("", b"")])
def test_a_refused_auth_packet_ends_the_connection(client: Client, scheme: str, data: bytes | None) -> None:
    """-115 with zxid 0, then nothing more is served."""
    client.request(Op.AUTH, auth_body(scheme, data), xid=-4, run=False)
    client.request(Op.CREATE, create_body("/a"))
    assert client.replies() == [(-4, 0, Code.AUTH_FAILED, b"")]
    assert client.transport.closed
    assert b"/a" not in client.rig.tree.nodes


@pytest.mark.parametrize("op", [Op.AUTH, Op.SASL])
def test_a_packet_that_does_not_parse_closes(client: Client, op: int) -> None:
    client.request(op, b"\0\0", xid=-4)
    assert client.take() == []
    assert client.transport.closed


def test_sasl_without_a_login_configuration_answers_an_empty_token(client: Client) -> None:
    client.request(Op.SASL, pack_buffer(b"hello"), xid=3)
    assert client.replies() == [(3, 0, 0, b"\xff\xff\xff\xff")]
    assert not client.transport.closed


def test_an_identity_counts_for_the_requests_behind_it() -> None:
    """Even in one chunk; and a read that waits keeps the identities it came with."""
    rig = Rig(sync_seconds=0.1)
    rig.client()
    client = rig.client()
    acl = ((31, "auth", ""),)
    client.request(Op.CREATE, create_body("/other"))
    client.request(Op.CREATE, create_body("/a", b"", 0, acl))
    client.request(Op.AUTH, auth_body("digest", b"me:secret"), xid=-4)
    client.request(Op.CREATE, create_body("/a", b"mine", 0, acl))
    client.request(Op.GET_DATA, watch_body("/a"))
    rig.work()
    assert [reply.err for reply in client.replies()] == [0, Code.INVALID_ACL, 0, 0, 0]
    stranger = rig.client()
    stranger.request(Op.CREATE, create_body("/b"))
    stranger.request(Op.GET_DATA, watch_body("/a"))
    stranger.request(Op.AUTH, auth_body("digest", b"me:secret"), xid=-4)
    stranger.request(Op.GET_DATA, watch_body("/a"))
    rig.work()
    assert [reply.err for reply in stranger.replies()] == [0, Code.NO_AUTH, 0, 0]


def test_identities_are_lost_with_the_connection(client: Client) -> None:
    client.auth("digest", b"me:secret")
    again = client.rig.client(session_id=client.session_id, password=client.password)
    assert again.connection.identities == (("ip", "127.0.0.1"),)


def test_the_ip_identity_is_there_from_the_start(server: Rig) -> None:
    client = server.client("10.1.2.3")
    client.call(Op.CREATE, create_body("/a", b"", 0, ((31, "ip", "10.1.0.0/16"),)))
    assert client.error(Op.SET_DATA, set_body("/a")) == 0
    assert server.client("10.2.2.3").error(Op.SET_DATA, set_body("/a")) == Code.NO_AUTH


def test_a_scheme_may_look_at_the_tree() -> None:
    """The key scheme compares with the data of /key."""
    rig = Rig(auth_providers=KEY)
    client = rig.client()
    client.call(Op.CREATE, create_body("/key", b"7"))
    assert client.auth("key", b"21") == 0
    assert client.auth("key", b"22") == Code.AUTH_FAILED
    assert client.transport.closed


def test_a_client_of_another_ensemble_is_closed_without_a_reply() -> None:
    rig = Rig(auth_providers=ENSEMBLE, ensemble_auth_names=("ours",))
    client = rig.client()
    assert client.auth("ensemble", b"ours") == 0
    client.request(Op.AUTH, auth_body("ensemble", b"theirs"), xid=-4)
    assert client.take() == []
    assert client.transport.closed


@pytest.fixture
def guarded() -> Rig:
    """Connections must hold a digest identity."""
    return Rig(enforce_auth_enabled=True, enforce_auth_schemes=("digest",))


@pytest.mark.parametrize(
    ("op", "body"),
    [
        (Op.PING, b""),
        (Op.GET_DATA, watch_body("/")),
        (Op.CREATE, create_body("/a")),
        (Op.SET_DATA, set_body("/", b"x")),
        (Op.CLOSE_SESSION, b""),
        (99, b""),
    ],
)
def test_enforced_authentication(guarded: Rig, op: int, body: bytes) -> None:
    """The first other request gets -124, then the connection ends; the handshake was allowed."""
    client = guarded.client()
    client.request(op, body, xid=5, run=False)
    client.request(Op.PING)
    assert client.replies() == [(5, 0, Code.SESSION_CLOSED_REQUIRE_SASL_AUTH, b"")]
    assert client.transport.closed
    assert b"/a" not in guarded.tree.nodes
    assert guarded.sessions.get(client.session_id) is not None


def test_who_has_authenticated_is_served(guarded: Rig) -> None:
    client = guarded.client()
    assert client.auth("digest", b"me:secret") == 0
    assert client.error(Op.CREATE, create_body("/a", b"1")) == 0
    assert client.error(Op.SET_DATA, set_body("/a", b"2")) == 0
    assert client.ask(Op.GET_DATA, watch_body("/a")).body[4:5] == b"2"


def test_auth_and_sasl_packets_pass_the_guard(guarded: Rig) -> None:
    client = guarded.client()
    client.request(Op.SASL, pack_buffer(b""), xid=1)
    assert [reply.err for reply in client.replies()] == [0]
    assert client.auth("ip", b"") == 0
    client.request(Op.PING)
    assert client.replies()[0].err == Code.SESSION_CLOSED_REQUIRE_SASL_AUTH
