"""Which member of which ensemble a configuration describes, and what a member needs to start."""

import os

import pytest

from zabra.config.parser import load
from zabra.errors import ConfigError

LIMITS = "initLimit=10\nsyncLimit=5\n"
TWO = "server.1=a:1:2\nserver.2=b:1:2\n"
THREE = TWO + "server.3=c:1:2\n"
WITH_OBSERVER = TWO + "server.3=c:1:2:observer\n"


class Place:
    """A folder with a zoo.cfg and a data folder."""

    def __init__(self, path):
        self.path = path
        self.config_file = path / "zoo.cfg"
        self.data_dir = path / "data"
        self.data_dir.mkdir()

    def myid(self, text):
        (self.data_dir / "myid").write_text(text)

    def load(self, text, *, limits=LIMITS, client_port="clientPort=2181\n", **more):
        self.config_file.write_text(f"dataDir={self.data_dir}\n{client_port}{limits}{text}")
        return load(config_file=str(self.config_file), **more)

    def settings(self, text, **more):
        return self.load(text, **more).settings

    def refused(self, text, **more):
        with pytest.raises(ConfigError) as caught:
            self.load(text, **more)
        return str(caught.value)

    def dynamic(self, text, name="zoo.cfg.dynamic"):
        path = self.path / name
        path.write_text(text)
        return f"dynamicConfigFile={path}\n"


@pytest.fixture
def place(tmp_path):
    found = Place(tmp_path)
    found.myid("1\n")
    return found


def own_warnings(configuration):
    """Without the line of features that are not there yet."""
    return [line for line in configuration.warnings if not line.startswith("not available")]


# -- who belongs to it


def test_server_lines_describe_an_ensemble(place):
    place.myid("2\n")
    found = place.settings(WITH_OBSERVER)
    assert found.is_distributed
    assert list(found.ensemble.members) == [1, 2, 3]
    assert list(found.ensemble.observers) == [3]
    assert (found.server_id, found.ensemble.version) == (2, 0)
    assert (found.init_limit, found.sync_limit) == (10, 5)
    assert found.config_backward_compatible


def test_no_server_line_is_standalone(place):
    found = place.settings("")
    assert found.ensemble is None
    assert found.server_id == 1


def test_one_participant_is_standalone_unless_that_is_switched_off(place):
    place.myid("7\n")
    one = "server.7=a:1:2\n"
    assert place.settings(one).ensemble is None
    assert place.settings(one).server_id == 1
    found = place.settings(one + "standaloneEnabled=false\n")
    assert list(found.ensemble.voters) == [7]
    assert found.server_id == 7


def test_groups_and_weights_make_quorums_hierarchical(place):
    found = place.settings(THREE + "group.1=1:2\ngroup.2=3\nweight.3=2\n").ensemble
    assert found.groups == {1: 1, 2: 1, 3: 2}
    assert found.weights == {1: 1, 2: 1, 3: 2}
    assert place.refused(THREE + "group.1=1:2\n") == f"{place.config_file}: expected server 3 in a group"
    text = THREE + "group.1=1:2\ngroup.2=2:3\n"
    assert place.refused(text).endswith("group.2=2:3: expected server 2 in one group")


def test_an_oracle_leaves_no_groups(place):
    found = place.settings(TWO + "group.1=1:2\noraclePath=/oracle\n")
    assert found.oracle_path == "/oracle"
    assert found.ensemble.groups == found.ensemble.weights == {}


def test_members_may_come_from_the_environment(place):
    place.config_file.write_text(f"dataDir={place.data_dir}\n{LIMITS}server.1=a:1:2\n")
    found = load(config_file=str(place.config_file), environment={"ZOOKEEPER_SERVER_2": "b:1:2;2199"})
    assert list(found.settings.ensemble.members) == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server.x=a:1:2\n", "server.x=a:1:2: expected a number, not 'x'"),
        ("server.1=a:1\n", "server.1=a:1: expected host:quorumPort"),
        ("server.1=a:1:2|b:1:2\n", "expected one address, or multiAddress.enabled=true"),
        ("standaloneEnabled=false\n", "expected at least one server.N line"),
        ("standaloneEnabled=false\nserver.1=a:1:2:observer\n", "expected at least one server.N line"),
        ("server.1=a:1:2:observer\n", "observers without at least two participants"),
        ("server.1=a:1:2\nserver.2=b:1:2:observer\n", "observers without at least two participants"),
        ("electionAlg=1\n" + TWO, "electionAlg=1: expected a whole number, namely 3"),
        ("version=xyz\n" + TWO, "version=xyz: expected a version in hex"),
    ],
)
def test_impossible_memberships_are_refused(place, text, message):
    assert message in place.refused(text)


def test_several_addresses_need_the_switch(place):
    found = place.settings("multiAddress.enabled=true\nserver.1=a:1:2|b:1:2\nserver.2=c:1:2\n")
    assert found.multi_address_enabled
    assert len(found.ensemble.members[1].addresses) == 2


# -- the dynamic file


def test_a_dynamic_file_holds_the_servers_and_its_name_the_version(place):
    text = place.dynamic("server.1=a:1:2:participant\nserver.2=b:1:2;2182", "zoo.cfg.dynamic.10000000a")
    found = place.settings(text)
    assert list(found.ensemble.members) == [1, 2]
    assert found.ensemble.version == 0x10000000A
    assert found.dynamic_config_file == f"{place.path}/zoo.cfg.dynamic.10000000a"
    assert not found.config_backward_compatible
    assert place.settings(place.dynamic(TWO)).ensemble.version == 0


def test_a_membership_in_zoo_cfg_may_have_a_version(place):
    assert place.settings(TWO + "version=1f\n").ensemble.version == 0x1F
    assert place.settings(place.dynamic(TWO) + "version=1f\n").ensemble.version == 0


@pytest.mark.parametrize("line", ["server.1=a:1:2", "group.1=1", "weight.1=1"])
def test_the_membership_is_in_one_file_only(place, line):
    assert f"{line}: expected it in the dynamicConfigFile" in place.refused(place.dynamic(TWO) + line)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tickTime=1\n", "dynamic:1: tickTime: expected only server, group and weight lines"),
        ("\nserver.1=a\n", "dynamic:2: server.1=a: expected host:quorumPort"),
        ("version=1\n", "dynamic:1: version: expected only"),
        ("server.1=\\u1", "dynamic:1: expected four"),
        (TWO + "weight.1=1\n", "dynamic: expected server 1 in a group"),
    ],
)
def test_a_bad_dynamic_file_names_its_line(place, text, message):
    assert message in place.refused(place.dynamic(text))


def test_a_missing_dynamic_file_is_named(place):
    message = place.refused("dynamicConfigFile=/no/such\n")
    assert message.startswith("/no/such: the dynamicConfigFile cannot be read: ")


# -- who we are


def test_a_member_needs_its_id(place):
    (place.data_dir / "myid").unlink()
    assert place.refused(THREE) == (
        f"{place.data_dir}/myid: missing: expected a file with the id of this server, one of 1, 2, 3"
    )


@pytest.mark.parametrize("text", ["one\n", "", "\n1\n", "1 2\n", "9223372036854775808\n"])
def test_an_id_is_a_number(place, text):
    place.myid(text)
    for members in (THREE, ""):
        assert place.refused(members).endswith(": expected the number of this server")


def test_a_member_is_in_its_list(place):
    place.myid("4\n")
    message = f"{place.data_dir}/myid: 4: expected the id of a server in "
    assert place.refused(THREE) == f"{message}{place.config_file}, one of 1, 2, 3"
    assert place.refused(place.dynamic(TWO)) == f"{message}{place.path}/zoo.cfg.dynamic, one of 1, 2"


def test_the_servers_list_decides_on_the_role(place):
    assert own_warnings(place.load(THREE + "peerType=participant\n")) == []
    found = place.load(THREE + "peerType=observer\n")
    assert own_warnings(found) == ["peerType=observer, but the servers list says participant, which counts"]
    place.myid("3\n")
    assert own_warnings(place.load(WITH_OBSERVER))[1:] == []
    found = place.load(WITH_OBSERVER + "peerType=participant\n")
    assert own_warnings(found)[1:] == ["peerType=participant, but the servers list says observer, which counts"]


def test_our_own_line_may_carry_the_client_address(place):
    text = "server.1=a:1:2;127.0.0.1:2199\n"
    found = place.settings(text, client_port="")
    assert (found.client_port_address, found.client_port) == ("127.0.0.1", 2199)
    found = place.settings(text + "server.2=b:1:2;2199\n", client_port="clientPort=2199\n")
    assert (found.client_port_address, found.client_port) == ("127.0.0.1", 2199)
    expected = "expected the client address that clientPort names, 0.0.0.0:2181"
    assert place.refused(text).endswith(f"server.1=a:1:2;127.0.0.1:2199: {expected}")
    message = place.refused(place.dynamic(text))
    assert message == f"{place.path}/zoo.cfg.dynamic: server.1: expected 0.0.0.0:2181, as clientPort names it"


# -- what it needs


@pytest.mark.parametrize("key", ["initLimit", "syncLimit"])
def test_a_member_needs_its_limits(place, key):
    without = LIMITS.replace(f"{key}=", "#")
    assert place.refused(TWO, limits=without) == f"{place.config_file}: {key} is missing: expected a number of ticks"
    message = place.refused(TWO, limits=f"{without}{key}=0\n")
    assert message.endswith(f"{key}=0: expected a whole number of ticks, 1 or more")
    assert place.settings("", limits=without).ensemble is None


@pytest.mark.parametrize(
    ("voters", "warning"),
    [
        (2, ["no server may fail: it takes at least 3 participants to go on without one"]),
        (3, []),
        (4, ["4 participants survive no more failures than 3"]),
    ],
)
def test_a_number_of_voters_that_gains_nothing_is_named(place, voters, warning):
    text = "".join(f"server.{sid}=h{sid}:1:2\n" for sid in range(1, voters + 1))
    assert own_warnings(place.load(text)) == warning


@pytest.mark.parametrize(
    "text",
    [
        "sslQuorum=true\n",
        "quorum.auth.enableSasl=true\nquorum.auth.learnerRequireSasl=true\n",
    ],
)
def test_a_guard_that_is_not_there_is_not_silently_missing(place, text):
    assert "between servers is not available in this release" in place.refused(TWO + text)
    assert place.settings(text).ensemble is None


def test_a_client_port_is_none_of_the_other_two(place):
    for line in ("server.1=a:2181:2\n", "server.1=a:1:2181\n"):
        message = place.refused(line + "server.2=b:1:2\n")
        assert "server.1: expected a client port that is neither the quorum port nor the election port" in message
    elsewhere = "clientPort=2181\nclientPortAddress=10.0.0.1\n"
    assert place.settings("server.1=a:2181:2\nserver.2=b:1:2\n", client_port=elsewhere).is_distributed


def test_members_that_share_an_address_are_named(place):
    found = place.load("server.1=a:1:2\nserver.2=a:3:4\nserver.3=a:5:1\n")
    assert own_warnings(found) == ["server.1 and server.3 share a:1"]


def test_ttl_nodes_need_a_small_id(place):
    place.myid("255\n")
    text = "server.255=a:1:2\nserver.2=b:1:2\n"
    assert place.settings(text).server_id == 255
    assert "expected false, or a server id of at most 254" in place.refused(text + "extendedTypesEnabled=true\n")


def test_a_changing_membership_needs_a_file(place):
    arguments = {"dataDir": str(place.data_dir)}
    given = [("initLimit", "1"), ("syncLimit", "1"), ("server.1", "a:1:2"), ("server.2", "b:1:2")]
    assert load(definitions=given, arguments=arguments).settings.is_distributed
    with pytest.raises(ConfigError, match=r"-DreconfigEnabled=true: expected a zoo\.cfg beside which"):
        load(definitions=[*given, ("reconfigEnabled", "true")], arguments=arguments)


def test_the_path_of_the_file_is_absolute(place, monkeypatch):
    place.load(TWO)
    monkeypatch.chdir(place.path)
    assert load(config_file="zoo.cfg").settings.config_file == os.path.abspath("zoo.cfg") == str(place.config_file)
