"""Moments: what may say *when*, and what it means.

A moment is given as an LSN, an aware datetime, a timedelta ago, or a string: a whole number is an
LSN, ISO 8601 with an offset or Z is a time, anything else is a restore point's name. No name reads
as a number or as a time, so a string means one thing only, whatever restore points there are.

This module decides and does not act: it knows no volume, and the clock is handed in.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import SupportsIndex

from aurolog.changes import as_integer
from aurolog.clock import EPOCH, nanoseconds_of
from aurolog.errors import InputError, MomentError, RestorePointError

__all__ = ["NAME_BYTES_MAX", "Moment", "Time", "When", "check_name", "parse", "require_past"]

#: Anything that says when.
When = SupportsIndex | datetime | timedelta | str

NAME_BYTES_MAX = 255

_NS_PER_US = 1000

_HOUR_24 = re.compile(r"^(.*[^0-9]|)24")

_WHOLE_TIME = "a date, a time of day and an offset, such as 2001-09-09T01:46:40Z"


@dataclass(frozen=True, slots=True)
class Time:
    """Up to this nanosecond since the Unix epoch, it included; ``given`` is how it was said."""

    nanoseconds: int
    given: str


#: What a ``When`` comes down to: an LSN, a time or a name.
Moment = int | Time | str


def parse(when: When, clock: Callable[[], int]) -> Moment:
    """What ``when`` means; ``clock`` gives nanoseconds since the Unix epoch and is asked only for a
    timedelta.

    A name is returned as it is, an LSN too, both whether or not the volume has them. Raises
    ``MomentError`` for what reads as a number or a time and is no moment, ``InputError`` for what
    is none of all these.
    """
    if isinstance(when, str):
        return _parse_text(when)
    if isinstance(when, datetime):
        return _time(when, when.isoformat())
    if isinstance(when, timedelta):
        if when < timedelta(0):
            raise MomentError(f"{when!r:.60} is in the future: a timedelta says how long ago")
        return Time(clock() - nanoseconds_of(when), f"{when} ago")
    if hasattr(when, "__index__"):
        return as_integer("an LSN", when)
    raise InputError(
        "a moment is an LSN, an aware datetime, a timedelta ago, an ISO 8601 time or a restore "
        f"point's name, not {when!r:.60}"
    )


def require_past(time: Time, now_ns: int, newest_ns: int) -> None:
    """Raises ``MomentError`` for a time after both now and the newest commit.

    Within the microsecond of now it is not: datetimes have no finer ones.
    """
    if time.nanoseconds // _NS_PER_US > max(now_ns, newest_ns) // _NS_PER_US:
        raise MomentError(f"{time.given} is in the future: nothing was committed then")


def check_name(name: str) -> bytes:
    """The UTF-8 of a name that a restore point may have; ``RestorePointError`` for any other.

    1 to 255 bytes, printable, without blanks around it, and not readable as a number or a time.
    """
    if not isinstance(name, str):
        raise RestorePointError(f"a restore point's name is a string, not {type(name).__name__}")
    shown = f"{name!r:.60}"
    if not name:
        raise RestorePointError("a restore point's name has at least one character")
    if not name.isprintable():  # which surrogates are not: it can be encoded
        raise RestorePointError(f"a restore point's name is printable, not {shown}")
    if name != name.strip():
        raise RestorePointError(f"a restore point's name has no blanks around it: {shown}")
    octets = name.encode()
    if len(octets) > NAME_BYTES_MAX:
        raise RestorePointError(
            f"a restore point's name has at most {NAME_BYTES_MAX} bytes of UTF-8, not {len(octets)}"
        )
    if _is_number(name) or _is_time(name):
        what = "a number" if _is_number(name) else "a date or a time"
        raise RestorePointError(
            f"{shown} reads as {what}, as which every call that takes a moment would take it: put "
            "a word to it"
        )
    return octets


def _parse_text(text: str) -> Moment:
    """A string; blanks around it, which no name has, are no part of it."""
    text = text.strip()
    if text.isdecimal():
        return _lsn(text)
    if _is_number(text):
        raise MomentError(f"{text!r:.60} is no LSN: those are whole numbers from 0 on")
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        pass
    else:
        return _time(time, text)
    if _is_time(text):
        raise MomentError(f"{text!r:.60} is no whole time: give {_WHOLE_TIME}")
    if not text:
        raise MomentError("an empty string is no moment")
    return text


def _lsn(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:  # Python converts no more than some thousand digits
        raise MomentError(f"a number of {len(digits)} digits is no LSN") from None


def _time(time: datetime, given: str) -> Time:
    """The end of the datetime's microsecond: commits have nanoseconds, and the time that a commit
    shows has to reach it."""
    if time.utcoffset() is None:
        raise MomentError(
            f"{given} names no time zone: give {_WHOLE_TIME}, or a datetime with its tzinfo"
        )
    return Time(nanoseconds_of(time - EPOCH) + _NS_PER_US - 1, given)


def _is_number(text: str) -> bool:
    """Whether Python reads it as an int, in whatever base it says, or as a float."""
    for read in (int, float, _int_of_any_base, _hexadecimal_float):
        try:
            read(text)
        except ValueError:
            continue
        except OverflowError:  # a number even so
            pass
        return True
    return False


def _int_of_any_base(text: str) -> int:
    return int(text, 0)


def _hexadecimal_float(text: str) -> float:
    if "0x" not in text.lower():  # it reads `face` as well, and that is a word
        raise ValueError(text)
    return float.fromhex(text)


def _is_time(text: str) -> bool:
    """Whether Python reads it as a date, a time of day or both."""
    # Newer Pythons read midnight as hour 24 too; what is a name must not depend on the Python.
    for spelt in (text, _HOUR_24.sub(r"\g<1>00", text)):
        for read in (
            datetime.fromisoformat,
            dt.date.fromisoformat,
            dt.time.fromisoformat,
        ):
            try:
                read(spelt)
            except ValueError:
                continue
            return True
    return False
