"""The same requests to Apache ZooKeeper and to us get the same answers, and each serves the other's data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compat.differential import CONFIG, Experiment, Folder, Lockstep, Side
from compat.ensembles import Ensemble, Spec
from compat.servers import APACHE, ZABRA, missing_java, require
from compat.workload import Workload

#: More: ``ZABRA_DIFFERENTIAL_SEEDS=1..500``.
SEEDS = os.environ.get("ZABRA_DIFFERENTIAL_SEEDS", "1..4").partition("..")
STEPS = int(os.environ.get("ZABRA_DIFFERENTIAL_STEPS", "1200"))


@pytest.mark.java
@pytest.mark.parametrize("seed", range(int(SEEDS[0]), int(SEEDS[2] or SEEDS[0]) + 1))
def test_random_requests_get_equal_answers_and_folders_can_be_exchanged(seed: int, tmp_path: Path) -> None:
    require(missing_java())
    lines = Experiment(seed, APACHE, ZABRA, tmp_path).run(STEPS)
    assert not lines, "\n".join(lines)


#: What servers 1 to 4 are, of which 3 leads and 4 observes, and which of them is asked.
MEMBERS = {
    "leader": (ZABRA, ZABRA, ZABRA, ZABRA, 3),
    "follower of Apache": (ZABRA, ZABRA, APACHE, ZABRA, 1),
    "observer of Apache": (APACHE, APACHE, APACHE, ZABRA, 4),
    "Apache follows": (APACHE, ZABRA, ZABRA, ZABRA, 1),
}
MEMBER_STEPS = int(os.environ.get("ZABRA_DIFFERENTIAL_MEMBER_STEPS", "400"))


@pytest.mark.java
@pytest.mark.parametrize("asked", MEMBERS)
def test_a_member_of_an_ensemble_answers_random_requests_as_one_of_apache_does(asked: str, tmp_path: Path) -> None:
    """The same requests through the same server of an ensemble of Apache's, and of one that has ours."""
    require(missing_java())
    *kinds, sid = MEMBERS[asked]
    properties = {"znode.container.checkIntervalMs": "86400000"}
    config = {**CONFIG, "reconfigEnabled": "false"}
    ensembles = []
    for name, members in (("apache", [APACHE] * 4), ("ours", kinds)):
        specs = {n: Spec(kind, observer=n == 4, properties=properties) for n, kind in enumerate(members, 1)}
        ensembles.append(Ensemble(tmp_path / name, specs, config=config))
    with ensembles[0] as stock, ensembles[1] as ours:
        sides = []
        for ensemble in (stock, ours):
            ensemble.start_led_by(3)
            sides.append(Side(ensemble[sid], Folder()))
        workload = Workload(list(MEMBERS).index(asked), ensemble=True)
        try:
            lines = Lockstep(*sides, workload).run(MEMBER_STEPS, workload.opening())
        finally:
            for side in sides:
                side.close()
        assert not lines, "\n".join(lines)
        ours.check_digests()
