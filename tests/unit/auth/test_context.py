"""A scheme that looks at the request: every check tells it which path, which right, and which list is to be stored."""

from __future__ import annotations

from auth_samples import OwnBranch
from rig import Client, Rig, create_body, delete_body, path, set_acl_body, set_body, watch_body

from zabra.auth.provider import AccessContext
from zabra.consts import Op, Perm
from zabra.wire.records_data import Acl

ACL: Acl = ((31, "log", "any"),)


class Log(OwnBranch):
    """Notes what it is asked about, and grants it."""

    scheme = "log"
    asked: list[tuple[bytes, int, Acl | None]] = []  # noqa: RUF012 - the tests' own, emptied before each

    def authenticate(self, info, data):
        return [("log", "me")]

    def matches_in(self, identity_id: str, acl_id: str, context: AccessContext) -> bool:
        self.asked.append(tuple(context))
        return True


def log_client() -> Client:
    client = Rig(auth_providers=(("1", f"{__name__}:Log"),)).client()
    assert client.auth("log", b"") == 0
    assert client.error(Op.CREATE, create_body("/dir", acl=ACL)) == 0
    assert client.error(Op.CREATE, create_body("/dir/a", acl=ACL)) == 0
    Log.asked.clear()
    return client


def asked_by(client: Client, op: int, body: bytes) -> list[tuple[bytes, int, Acl | None]]:
    Log.asked.clear()
    assert client.error(op, body) == 0
    return list(Log.asked)


def test_writes_tell_path_right_and_new_list() -> None:
    client = log_client()
    other: Acl = ((1, "log", "x"),)
    assert asked_by(client, Op.CREATE, create_body("/dir/b", acl=ACL)) == [(b"/dir/b", Perm.CREATE, ACL)]
    assert asked_by(client, Op.SET_DATA, set_body("/dir/b", b"x")) == [(b"/dir/b", Perm.WRITE, None)]
    assert asked_by(client, Op.SET_DATA, set_body("/dir/b", None)) == [(b"/dir/b", Perm.WRITE, None)]
    assert asked_by(client, Op.DELETE, delete_body("/dir/b")) == [(b"/dir/b", Perm.DELETE, None)]
    assert asked_by(client, Op.SET_ACL, set_acl_body("/dir/a", other)) == [(b"/dir/a", Perm.ADMIN, other)]


def test_reads_tell_path_and_right() -> None:
    client = log_client()
    for op in (Op.GET_DATA, Op.EXISTS, Op.GET_CHILDREN, Op.GET_CHILDREN2):
        assert asked_by(client, op, watch_body("/dir/a")) == [(b"/dir/a", Perm.READ, None)]
    assert asked_by(client, Op.GET_ACL, path("/dir/a")) == [
        (b"/dir/a", Perm.READ | Perm.ADMIN, None),
        (b"/dir/a", Perm.ADMIN, None),
    ]


def test_events_tell_path_and_right() -> None:
    client = log_client()
    assert client.error(Op.GET_DATA, watch_body("/dir/a", watch=True)) == 0
    assert asked_by(client, Op.SET_DATA, set_body("/dir/a", b"y")) == [
        (b"/dir/a", Perm.WRITE, None),
        (b"/dir/a", Perm.READ, None),
    ]


def test_the_path_decides() -> None:
    server = Rig(auth_providers=(("1", "auth_samples:OwnBranch"),))
    client = server.client()
    assert client.auth("branch", b"ann") == 0
    branch: Acl = ((31, "branch", "any"),)
    assert client.error(Op.CREATE, create_body("/ann", acl=branch)) == 0
    assert client.error(Op.CREATE, create_body("/bob", acl=branch)) == 0
    assert client.error(Op.CREATE, create_body("/ann/x", acl=branch)) == 0
    assert client.error(Op.CREATE, create_body("/bob/x", acl=branch)) == -102
