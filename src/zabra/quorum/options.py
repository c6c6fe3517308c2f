"""What the cores that serve learners are told of the settings."""

from __future__ import annotations

from zabra.config.model import Settings
from zabra.zab.leader import LeaderOptions
from zabra.zab.observer_master import MasterOptions


def master_options(settings: Settings) -> MasterOptions:
    """Of an observer master."""
    return MasterOptions(
        tick_ms=settings.tick_time_ms,
        init_limit=settings.init_limit,
        sync_limit=settings.sync_limit,
        max_concurrent_snap_syncs=settings.leader_max_concurrent_snap_syncs,
        max_concurrent_diff_syncs=settings.leader_max_concurrent_diff_syncs,
        snapshot_size_factor=settings.snapshot_size_factor,
        force_snapshot_sync=settings.force_snapshot_sync,
    )


def leader_options(settings: Settings) -> LeaderOptions:
    """Of a leader: the same, and what it decides alone."""
    return LeaderOptions(
        **master_options(settings)._asdict(),
        reconfig_enabled=settings.reconfig_enabled,
        max_time_to_wait_for_epoch_ms=settings.leader_max_time_to_wait_for_epoch_ms,
        initial_counter=settings.initial_counter,
        ack_sampling=settings.leader_ack_logging_frequency,
    )
