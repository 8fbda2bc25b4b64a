"""Times of records: ISO 8601 or Unix seconds in, ISO 8601 in UTC out."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

from rlhf.data.lines import Wrong

_FIRST = datetime(2000, 1, 1, tzinfo=UTC)
_ISO = re.compile(  # datetime.fromisoformat takes more, and another "more" in each version of Python
    r"(?:\d{4}-\d\d-\d\d|\d{8}|\d{4}-?W\d\d-?\d)"
    r"(?:[T ](?:[01]\d|2[0-3])(?::?[0-5]\d(?::?(?:[0-5]\d|60)(?:[.,]\d+)?)?)?(?:Z| ?[+-]\d\d(?::?\d\d)?)?)?",
    re.A,
)
_LEAP = re.compile(r"(?<=:59:)60|(?<=[T ]\d\d59)60")
_FORM = "must be ISO 8601 or Unix seconds"


def created_at(value: Any) -> str | None:
    """ISO 8601 in UTC of an ISO 8601 string, a time, or Unix seconds, from 2000 to tomorrow.

    A time without an offset is in UTC; a leap second is the second after it. Raises Wrong.
    """
    if value is None:
        return None
    if type(value) is str and is_plain(value):
        return value
    try:
        moment = _moment(value)
    except (ValueError, OverflowError, OSError):
        raise Wrong("created_at", _FORM) from None
    if not _FIRST <= moment <= datetime.now(UTC) + timedelta(days=1):
        raise Wrong("created_at", "must lie between the year 2000 and tomorrow")
    return moment.isoformat().replace("+00:00", "Z")


def is_plain(moment: str) -> bool:
    """Whether it is a time in the form that the records keep, YYYY-MM-DDThh:mm:ss[.ffffff]Z, after 2000 and past."""
    if moment[4:20:3] != "--T::Z" or len(moment) != 20:
        if len(moment) != 27 or moment[4:20:3] != "--T::." or moment[26] != "Z" or moment[20:26] == "000000":
            return False
        if not (moment[20:26].isascii() and moment[20:26].isdigit()):
            return False
    if not _is_past_day(moment[:10]):
        return False
    try:
        time.fromisoformat(moment[11:19])
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1 << 12)
def _is_past_day(day: str) -> bool:
    """Whether it is a day, YYYY-MM-DD, after 2000 and two days ago or more: a margin, so that offsets do not matter."""
    if not day >= "2000":
        return False
    try:
        return date.fromisoformat(day) < date.today() - timedelta(days=1)
    except ValueError:
        return False


def _moment(value: Any) -> datetime:
    if isinstance(value, str):
        text = value.upper()
        if not _ISO.fullmatch(text):
            raise ValueError
        shown, leaps = _LEAP.subn("59", text)
        moment = datetime.fromisoformat(shown)
        if leaps:
            moment += timedelta(seconds=1)
    elif isinstance(value, datetime):
        moment = value
    elif isinstance(value, date):
        moment = datetime(value.year, value.month, value.day)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if 1e11 < value < 1e14:
            raise Wrong("created_at", f"{_FORM}; these look like milliseconds")
        moment = datetime.fromtimestamp(value, UTC)
    else:
        raise ValueError
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
