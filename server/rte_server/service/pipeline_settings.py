"""The limits and intervals of a pipeline."""

from __future__ import annotations

from dataclasses import dataclass

from rte_server.config import Config


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """Limits and intervals of a pipeline."""

    queue_bytes_max: int = 64 * 1024 * 1024
    """Bodies of entries that are submitted but not folded; beyond it OVERLOADED."""
    queue_entries_max: int = 8192
    """Entries that are submitted but not folded; beyond it OVERLOADED."""
    tick_ms: int = 40
    """How often the engine is asked whether something is due, milliseconds, >= 1."""
    snapshot_entries: int = 100_000
    """A snapshot is taken after so many entries since the last, >= 1,"""
    snapshot_bytes: int = 256 * 1024 * 1024
    """or so many bytes of bodies, and at least half the size of the last snapshot, >= 1,"""
    snapshot_interval_ms: int = 600_000
    """or so much time with at least one entry, milliseconds, >= 1."""
    snapshots_kept: int = 4
    """So many snapshots are kept, >= 2: the older ones in case the newest is damaged, and as beginnings of refolds."""
    trim: bool = True
    """Whether the journal gives up what the oldest kept snapshot holds."""

    @classmethod
    def of(cls, config: Config) -> PipelineSettings:
        """Return those of a configuration."""
        limits, journal = config.limits, config.journal
        return cls(
            queue_bytes_max=limits.queue_bytes_max,
            queue_entries_max=limits.queue_entries_max,
            snapshot_entries=journal.snapshot_entries,
            snapshot_bytes=journal.snapshot_bytes,
            snapshot_interval_ms=journal.snapshot_interval_ms,
            snapshots_kept=journal.snapshots_kept,
            trim=journal.trim,
        )
