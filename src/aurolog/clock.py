"""Time as the API shows it: the log keeps nanoseconds since the Unix epoch, Python gets aware
datetimes in UTC."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from aurolog.changes import as_integer
from aurolog.errors import InputError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_of(nanoseconds: int) -> datetime:
    """The moment as a datetime; it keeps microseconds."""
    return EPOCH + timedelta(microseconds=nanoseconds // 1000)


def nanoseconds_of(duration: timedelta) -> int:
    """The length of a duration."""
    return (
        duration.days * 86_400_000_000 + duration.seconds * 1_000_000 + duration.microseconds
    ) * 1000


def checked_time(clock: Callable[[], int]) -> int:
    """What a user's clock says, and never 0, which stands for the system's."""
    now = as_integer("the clock's time", clock())
    if not 0 <= now < 2**63:
        raise InputError(f"the clock returned {now!r:.60}, not nanoseconds since 1970")
    return now or 1
