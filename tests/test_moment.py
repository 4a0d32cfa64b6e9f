"""What says when, and which names a restore point may have. No volume is needed for either."""

from __future__ import annotations

import datetime as dt
import struct
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import aurolog
from aurolog import moment
from aurolog.clock import time_of
from aurolog.moment import Time, check_name, parse, require_past

NOW_NS = 1_700_000_000_123_456_789
NOW = datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)


def now() -> int:
    return NOW_NS


def no_clock() -> int:
    raise AssertionError("the clock was asked")


def message(when: Any, error: type[Exception] = aurolog.MomentError) -> str:
    """What `parse` has against it; the error is of exactly this class."""
    with pytest.raises(error) as caught:
        parse(when, now)
    assert type(caught.value) is error
    return str(caught.value)


class Whole:
    """A whole number that is no int."""

    def __index__(self) -> int:
        return 7


class NoZone(dt.tzinfo):
    """A time zone that does not know its offset."""

    def utcoffset(self, _: datetime | None) -> None:
        return None


# --- moments -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "lsn"),
    [
        (0, 0),
        (7, 7),
        (Whole(), 7),
        (1 << 70, 1 << 70),
        (-1, -1),
        ("0", 0),
        ("7", 7),
        ("007", 7),
        (" 7\n", 7),
        ("١٢", 12),
        (str(1 << 64), 1 << 64),
    ],
)
def test_a_whole_number_is_an_lsn_and_asks_no_clock(when: Any, lsn: int) -> None:
    found = parse(when, no_clock)
    assert found == lsn
    assert type(found) is int


@pytest.mark.parametrize(
    "text",
    [
        "2023-11-14T22:13:20.123456Z",
        "2023-11-14T22:13:20.123456+00:00",
        "2023-11-14 22:13:20.123456Z",
        "20231114T221320.123456Z",
        "2023-11-15T00:13:20.123456+02:00",
        "2023-W46-2T22:13:20.123456Z",
        "2023-11-14T22:13:20.123456789Z",
        "  2023-11-14T22:13:20.123456Z ",
    ],
)
def test_iso_8601_with_an_offset_is_a_time(text: str) -> None:
    found = parse(text, no_clock)
    assert isinstance(found, Time)
    assert found.nanoseconds == 1_700_000_000_123_456_999
    assert found.given == text.strip()


def test_a_datetime_means_the_end_of_its_microsecond() -> None:
    """So the time that a commit shows, which has no nanoseconds, reaches the commit."""
    found = parse(time_of(NOW_NS), no_clock)
    assert isinstance(found, Time)
    assert NOW_NS <= found.nanoseconds == 1_700_000_000_123_456_999
    shifted = NOW.astimezone(timezone(timedelta(hours=-7)))
    assert parse(shifted, no_clock) == Time(found.nanoseconds, shifted.isoformat())


@pytest.mark.parametrize("offset", [timedelta(0), timedelta(hours=23, minutes=59)])
def test_the_first_and_the_last_datetime_are_times(offset: timedelta) -> None:
    for sign in (1, -1):
        zone = timezone(sign * offset)
        first = parse(datetime.min.replace(tzinfo=zone), no_clock)
        last = parse(datetime.max.replace(tzinfo=zone), no_clock)
        assert isinstance(first, Time)
        assert isinstance(last, Time)
        assert first.nanoseconds < 0 < last.nanoseconds


def test_a_timedelta_is_so_long_ago() -> None:
    assert parse(timedelta(0), now) == Time(NOW_NS, "0:00:00 ago")
    found = parse(timedelta(days=1, microseconds=5), now)
    assert found == Time(NOW_NS - 86_400_000_005_000, "1 day, 0:00:00.000005 ago")
    found = parse(timedelta.max, now)
    assert isinstance(found, Time)
    assert found.nanoseconds < 0


@pytest.mark.parametrize("when", [timedelta(microseconds=-1), timedelta.min])
def test_a_negative_timedelta_is_the_future(when: timedelta) -> None:
    assert "in the future" in message(when)


@pytest.mark.parametrize(
    "when",
    [
        "2023-11-14T22:13:20",
        "2023-11-14",
        "2023-W46-2",
        datetime(2023, 11, 14),  # noqa: DTZ001
        datetime(2023, 11, 14, tzinfo=NoZone()),
    ],
)
def test_a_time_without_a_time_zone_is_refused(when: Any) -> None:
    said = message(when)
    assert "names no time zone" in said
    assert "2001-09-09T01:46:40Z" in said


@pytest.mark.parametrize("text", ["12:30", "T12:30", "12:30:00.5", "12:30+01:00", "24:00"])
def test_a_time_of_day_is_refused(text: str) -> None:
    assert "a date, a time of day and an offset" in message(text)


@pytest.mark.parametrize("text", ["-1", "+1", "1_000", "1.5", "1e5", "inf", "NaN", "0x10", "0b1"])
def test_a_number_that_is_no_lsn_is_refused(text: str) -> None:
    assert message(text) == f"{text!r} is no LSN: those are whole numbers from 0 on"


def test_a_number_too_long_for_python_is_refused() -> None:
    assert message("9" * 5000) == "a number of 5000 digits is no LSN"
    assert "is no LSN" in message("-" + "9" * 5000)


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_an_empty_string_is_refused(text: str) -> None:
    assert message(text) == "an empty string is no moment"


@pytest.mark.parametrize("when", [None, 1.5, b"1", [], object(), dt.date(2023, 11, 14)])
def test_what_is_no_moment_at_all_is_refused(when: Any) -> None:
    assert message(when, aurolog.InputError).startswith("a moment is an LSN, an aware datetime, ")


def test_anything_else_is_a_name_whether_or_not_it_could_be_one() -> None:
    assert parse("v1.2", no_clock) == "v1.2"
    assert parse("  v1.2\n", no_clock) == "v1.2"
    assert parse("x" * 1000, no_clock) == "x" * 1000
    assert parse("a\0b", no_clock) == "a\0b"


def test_the_future_begins_after_now_and_after_the_newest_commit() -> None:
    second = 10**9
    for nanoseconds in (-1, 0, NOW_NS, NOW_NS + 1, NOW_NS // 1000 * 1000 + 999):
        require_past(Time(nanoseconds, ""), NOW_NS, 0)
        require_past(Time(nanoseconds, ""), 0, NOW_NS)
    require_past(Time(NOW_NS + second, ""), NOW_NS, NOW_NS + second)
    for now_ns, newest_ns in ((NOW_NS, 0), (NOW_NS, NOW_NS - second), (0, NOW_NS)):
        with pytest.raises(aurolog.MomentError, match=r"^tomorrow is in the future"):
            require_past(Time(NOW_NS + 1000, "tomorrow"), now_ns, newest_ns)


def test_now_as_python_says_it_is_never_the_future() -> None:
    """Whatever nanosecond of the microsecond the clock that is asked afterwards is in."""
    for nanosecond in (0, 1, 999):
        asked = NOW_NS // 1000 * 1000 + nanosecond
        time = parse(NOW, no_clock)
        assert isinstance(time, Time)
        require_past(time, asked, 0)


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "before the import",
        "v1.2.3",
        "1.2.3",
        "12 apples",
        "face",
        "größe",
        "日本",
        "🙂",
        "name:x",
        "5m",
        "1/2",
        "²",
        "x" * 255,
        "ü" * 127,
        "2023-13-01",
        "25:00",
        "infinite",
    ],
)
def test_a_name_is_a_name(name: str) -> None:
    assert check_name(name) == name.encode()
    assert parse(name, no_clock) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "at least one character"),
        (" a", "blanks around it"),
        ("a ", "blanks around it"),
        (" ", "blanks around it"),
        ("a\nb", "printable"),
        ("\x1b[2J", "printable"),
        ("a\0", "printable"),
        ("a\u00a0", "printable"),
        ("a\u202eb", "printable"),
        ("\udc80", "printable"),
        ("x" * 256, "255 bytes of UTF-8, not 256"),
        ("ü" * 128, "255 bytes of UTF-8, not 256"),
        ("0", "reads as a number"),
        ("12", "reads as a number"),
        ("-1", "reads as a number"),
        ("1_000", "reads as a number"),
        ("1.5", "reads as a number"),
        ("1e5", "reads as a number"),
        ("1e999", "reads as a number"),
        ("inf", "reads as a number"),
        ("-Infinity", "reads as a number"),
        ("nan", "reads as a number"),
        ("0x1F", "reads as a number"),
        ("0o17", "reads as a number"),
        ("0b1", "reads as a number"),
        ("0x1.8p3", "reads as a number"),
        ("0x1p99999", "reads as a number"),
        ("١٢", "reads as a number"),
        ("2023-11-14", "reads as a date or a time"),
        ("2023-W46", "reads as a date or a time"),
        ("2023-11-14T22:13:20Z", "reads as a date or a time"),
        ("2023-11-14x22:13", "reads as a date or a time"),
        ("12:30", "reads as a date or a time"),
        ("T12", "reads as a date or a time"),
        ("24:00", "reads as a date or a time"),
        ("2024-11-24T24:00:00Z", "reads as a date or a time"),
    ],
)
def test_what_is_no_name_is_refused(name: str, why: str) -> None:
    with pytest.raises(aurolog.RestorePointError, match=why) as caught:
        check_name(name)
    assert str(caught.value).isprintable()


def test_a_name_is_a_string() -> None:
    for name in (7, b"a", None):
        with pytest.raises(aurolog.RestorePointError, match="is a string, not"):
            check_name(name)  # type: ignore[arg-type]


def allowed(name: str) -> bool:
    try:
        check_name(name)
    except aurolog.RestorePointError:
        return False
    return True


# Strings that are near to numbers and times: made of what those are made of.
near = st.text("0123456789 +-.:_eExXTWZabfinoty/,", max_size=24)
zones = st.timezones() | st.builds(
    timezone, st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59))
)
times = st.datetimes(timezones=zones | st.none())


@given(st.text(max_size=300) | near)
@example("12:3")
@example("1__0")
@example("infinity ")
@example("0x")
def test_every_allowed_name_parses_back_as_that_name(name: str) -> None:
    assume(allowed(name))
    assert parse(name, no_clock) == name
    assert parse(f" {name}\t", no_clock) == name
    assert 1 <= len(check_name(name)) <= moment.NAME_BYTES_MAX


@given(near)
def test_what_python_reads_is_no_name(text: str) -> None:
    readers: list[Any] = [
        int,
        float,
        lambda text: int(text, 0),
        datetime.fromisoformat,
        dt.date.fromisoformat,
        dt.time.fromisoformat,
    ]
    for read in readers:
        try:
            read(text)
        except ValueError:
            continue
        assert not allowed(text)


@given(times | st.dates() | st.times(timezones=st.none() | zones))
def test_no_date_or_time_is_a_name(time: Any) -> None:
    assert not allowed(time.isoformat())
    assert not allowed(str(time))


@given(st.integers() | st.floats() | st.integers(0, 1 << 64).map(hex) | st.floats().map(float.hex))
def test_no_number_is_a_name(number: Any) -> None:
    assert not allowed(str(number))


@given(st.integers(0, (1 << 64) - 1))
def test_an_lsn_as_a_string_is_that_lsn(lsn: int) -> None:
    assert parse(str(lsn), no_clock) == parse(lsn, no_clock) == lsn


@given(st.datetimes(timezones=zones))
def test_a_datetime_and_its_iso_string_are_one_moment(time: datetime) -> None:
    as_datetime, as_text = parse(time, no_clock), parse(time.isoformat(), no_clock)
    assert isinstance(as_datetime, Time)
    assert as_datetime == as_text


@given(st.integers(0, 2**63 - 1))
def test_the_time_that_a_commit_shows_reaches_it_and_no_later_microsecond(nanoseconds: int) -> None:
    found = parse(time_of(nanoseconds), no_clock)
    assert isinstance(found, Time)
    assert nanoseconds <= found.nanoseconds < (nanoseconds // 1000 + 1) * 1000


# --- the values ----------------------------------------------------------------------------------


def test_values_are_plain_and_can_be_kept_in_sets() -> None:
    from array import array

    commit = aurolog.Commit(7, NOW, "pages", "", array("Q", [1, 2]), 3)
    same = aurolog.Commit(7, NOW, "pages", "", array("Q", struct.unpack("2Q", commit.pages)), 3)
    assert {commit, same} == {commit}
    point = aurolog.RestorePoint("a", 7, NOW, NOW)
    rewind = aurolog.Rewind(8, 7, 3, NOW, 2, 0, None)
    run = aurolog.Run(0, "first", None, None, 0, "", 7, NOW, 3, True)
    assert len({point, rewind, run}) == 3
    with pytest.raises(AttributeError):
        point.lsn = 8  # type: ignore[misc]
