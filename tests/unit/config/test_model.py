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


def test_settings_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings(data_dir="/d").client_port = 1


def test_secrets_are_not_printed():
    assert "geheim" not in repr(Settings(data_dir="/d", super_digest="s:geheim", properties={"a": "geheim"}))
