"""Settings resolve what depends on another setting, and never change."""

import dataclasses

import pytest

from zabra.config.model import Settings


def test_what_depends_on_another_setting_is_resolved():
    settings = Settings(data_dir="/d", tick_time_ms=100)
    assert (settings.data_log_dir, settings.min_session_timeout_ms, settings.max_session_timeout_ms) == (
        "/d",
        200,
        2000,
    )
    assert not settings.is_distributed


def test_limits_of_a_member_follow_one_another():
    settings = Settings(data_dir="/d", tick_time_ms=100, init_limit=10, sync_limit=5)
    assert (settings.connect_to_learner_master_limit, settings.quorum_cnxn_timeout_ms) == (10, 500)
    told = Settings(data_dir="/d", init_limit=10, connect_to_learner_master_limit=3, quorum_cnxn_timeout_ms=7)
    assert (told.connect_to_learner_master_limit, told.quorum_cnxn_timeout_ms) == (3, 7)


def test_settings_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings(data_dir="/d").client_port = 1


def test_secrets_are_not_printed():
    assert "geheim" not in repr(Settings(data_dir="/d", super_digest="s:geheim", properties={"a": "geheim"}))
