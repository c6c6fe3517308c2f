"""Whatever a zoo.cfg holds, it is read or refused with a ConfigError; nothing else comes out."""

import random

import pytest

from zabra.config.parser import load
from zabra.config.properties import all_properties
from zabra.errors import ConfigError

KEYS = [row.name for row in all_properties()] + ["server.1", "server.2", "authProvider.x", "no.such"]
VALUES = [
    "",
    "0",
    "-1",
    "1",
    "5",
    "true",
    "no",
    "a:1:2",
    "a:1:2:observer;5",
    "/d",
    "9" * 20,
    "0x10",
    "*",
    "\\u12",
    "\0",
]


@pytest.mark.parametrize("seed", range(5))
def test_random_files_are_read_or_refused(tmp_path, seed):
    chance = random.Random(seed)
    path = tmp_path / "zoo.cfg"
    outcomes = {True: 0, False: 0}
    for _ in range(150):
        lines = ["dataDir=/no/such", "clientPort=1"] if chance.random() < 0.9 else []
        lines += [
            f"{chance.choice(KEYS)}{chance.choice('=: ')}{chance.choice(VALUES)}" for _ in range(chance.randrange(4))
        ]
        chance.shuffle(lines)
        path.write_text("\n".join(lines))
        try:
            outcomes[load(config_file=str(path)).settings.data_dir == "/no/such"] += 1
        except ConfigError:
            outcomes[False] += 1
    assert min(outcomes.values()) > 10
