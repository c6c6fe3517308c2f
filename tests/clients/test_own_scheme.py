"""A user's own authentication scheme, named in zoo.cfg, beside Java class names and keys of later features."""

from __future__ import annotations

from pathlib import Path

import pytest

from compat import jute
from compat.rawclient import Client
from compat.servers import ZABRA, ServerProcess

SCHEME = '''
from zabra.errors import Code, RequestError


class Team:
    """Whoever says the password of a team belongs to it."""

    scheme = "team"
    is_authenticated = True

    def authenticate(self, info, data):
        name, _, password = data.decode().partition(":")
        if password != name[::-1]:
            raise RequestError(Code.AUTH_FAILED, "wrong password")
        return [("team", name)]

    def matches(self, identity_id, acl_id):
        return identity_id == acl_id

    def is_valid(self, acl_id):
        return acl_id.isalpha()

    def user_name(self, identity_id):
        return identity_id
'''
CONFIG = {
    "authProvider.1": "own_scheme:Team",
    "authProvider.2": "org.apache.zookeeper.server.auth.DigestAuthenticationProvider",
    "authProvider.3": "org.apache.zookeeper.server.auth.X509AuthenticationProvider",
    "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
    "secureClientPort": "2281",
    "ssl.keyStore.location": "/none.jks",
    "metricsProvider.className": "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
    "metricsProvider.httpPort": "7000",
}
NO_AUTH, AUTH_FAILED, INVALID_ACL = -102, -115, -114


def auth(client: Client, name: str, password: str) -> int:
    client.post(jute.AUTH, jute.auth("team", f"{name}:{password}".encode()), xid=jute.XID_AUTH)
    answer = client.reply(jute.AUTH)
    assert answer is not None
    return int(answer[2])


def test_a_scheme_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "own_scheme.py").write_text(SCHEME)
    monkeypatch.setenv("PYTHONPATH", str(modules))
    with ServerProcess(ZABRA, tmp_path, config=CONFIG).start() as server:
        with Client(server.port) as red, Client(server.port) as blue, Client(server.port) as liar:
            assert auth(red, "red", "der") == 0
            assert auth(blue, "blue", "eulb") == 0
            assert auth(liar, "red", "guess") == AUTH_FAILED
            assert liar.link.receive() is None
            acl = [(31, "team", "red")]
            assert red.call(jute.CREATE, jute.create("/red", b"ours", acl, 0))[0] == 0
            assert red.call(jute.CREATE, jute.create("/odd", b"", [(31, "team", "no-name!")], 0))[0] == INVALID_ACL
            assert red.call(jute.GET_DATA, jute.path_watch("/red", False))[1][0] == b"ours"
            assert blue.call(jute.GET_DATA, jute.path_watch("/red", False))[0] == NO_AUTH
        assert server.stop() == 0
    warnings = [line for line in server.log.read_text().splitlines() if " WARNING " in line]
    later = [line for line in warnings if "not available in this release" in line]
    assert len(later) == 1
    assert all(key in later[0] for key in ("secureClientPort", "ssl.keyStore.location", "metricsProvider.httpPort"))
    (scheme,) = [line for line in warnings if "authProvider.3=" in line]
    assert scheme not in later
