"""Ensembles for the tests of this folder."""

import pytest
from ensemble_rig import Ensemble


@pytest.fixture
def made():
    """Ensembles made by a test."""
    ensembles = []

    def make(*args, **settings):
        ensembles.append(Ensemble(*args, **settings))
        return ensembles[-1]

    yield make
    for ensemble in ensembles:
        ensemble.close()
