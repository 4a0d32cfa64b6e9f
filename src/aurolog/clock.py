"""Time as the API shows it: the log keeps nanoseconds since the Unix epoch, Python gets aware
datetimes in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_of(nanoseconds: int) -> datetime:
    """The moment as a datetime; it keeps microseconds."""
    return EPOCH + timedelta(microseconds=nanoseconds // 1000)


def nanoseconds_of(duration: timedelta) -> int:
    """The length of a duration."""
    return (
        duration.days * 86_400_000_000 + duration.seconds * 1_000_000 + duration.microseconds
    ) * 1000
