"""Numbers and dates in the spellings of spreadsheets: "$1,935.00", "30%", "1.234,5", "31.01.2026", "Jan 31, 2026"."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

# Marks of a missing number or date, as in UCI's tables. In a column of other texts they are values.
_MARKS = frozenset({"", "?", "-", "--", "."})
_SIGN = r"(?:[$€£¥₹]|USD|EUR|GBP|CHF|JPY)"
# Zeros before a number make it a code.
_WHOLE = {".": r"(?:0|[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d*)", ",": r"(?:0|[1-9]\d{0,2}(?:\.\d{3})+|[1-9]\d*)"}
_NUMBERS = {
    point: re.compile(
        rf"([-+]?) ?(?:{_SIGN} ?)?([-+]?)({whole}(?:{re.escape(point)}\d*)?|{re.escape(point)}\d+)(e[-+]?\d+)?"
        rf" ?(?:%|{_SIGN})?",
        re.IGNORECASE,
    )
    for point, whole in _WHOLE.items()
}
_TIME = r"(?:,? (\d{1,2}):(\d{2})(?::(\d{2}))?(?: ?([ap])\.?m\.?)?)?"
_ISO = re.compile(r"\d{4}[-/]\d{1,2}[-/]\d{1,2}([ T]\d{1,2}:\d{2}.*)?")
_DOTS = re.compile(rf"(\d{{1,2}})\.(\d{{1,2}})\.(\d{{4}}){_TIME}", re.IGNORECASE)
_SLASHES = re.compile(rf"(\d{{1,2}})[/-](\d{{1,2}})[/-](\d{{4}}){_TIME}", re.IGNORECASE)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"({'|'.join(_MONTHS)})[a-z]*\.?"
_MONTH_FIRST = re.compile(rf"{_MONTH} (\d{{1,2}}),? (\d{{4}}){_TIME}", re.IGNORECASE)
_DAY_FIRST = re.compile(rf"(\d{{1,2}})[ -]{_MONTH}[ -](\d{{4}}){_TIME}", re.IGNORECASE)


def numbers_of(column: Any) -> Any:
    """The numbers that a column of texts means, a pandas series of float64, NaN where a text means none.

    Signs of a currency and of percent are left out: "30%" is 30. So are commas between groups of three digits, or
    points in a table whose decimal point is a comma (``column.attrs["decimal"]``). A code such as "007" is no number.

    >>> import pandas
    >>> numbers_of(pandas.Series(["$1,935.00", "-5", "?", "five"])).tolist()
    [1935.0, -5.0, nan, nan]
    """
    column, point = column.astype(object), column.attrs.get("decimal", ".")
    group = "." if point == "," else ","
    found = {}
    for value in column.dropna().unique():
        match = _NUMBERS[point].fullmatch(str(value).strip())
        if match is not None:
            outer, inner, digits, power = match.groups()
            found[value] = float(f"{outer or inner}{digits.replace(group, '').replace(',', '.')}{power or ''}")
    return column.map(found).astype(np.float64)


def are_numbers(column: Any) -> bool:
    """Whether a column of texts has numbers, or marks of missing ones, alone.

    Digits alone are as often codes. CSV has no such texts: its reader has made numbers of them.

    >>> import pandas
    >>> are_numbers(pandas.Series(["30%", "5%"])), are_numbers(pandas.Series(["30", "5"]))
    (True, False)
    """
    values = column.dropna().head(1000)
    if not all(isinstance(value, str) for value in values) or all(value.strip().isdigit() for value in values):
        return False
    # Few rows refuse most columns.
    for part in (column.head(100), column):
        numbers = numbers_of(part)
        if not (numbers.notna() | missing_marks(part)).all():
            return False
    return bool(numbers.notna().any())


def is_day_first(column: Any) -> bool | None:
    """Whether the day comes before the month in dates such as 31/01/2026, or None if they are none.

    Dates whose order no row tells are American, as for pandas.

    >>> import pandas
    >>> is_day_first(pandas.Series(["01/02/2026", "31/01/2026"])), is_day_first(pandas.Series(["01/02/2026"]))
    (True, False)
    """
    pairs = []
    for value in column.dropna().unique():
        match = _SLASHES.fullmatch(str(value).strip())
        if match is not None:
            pairs.append((int(match[1]), int(match[2])))
    return any(first > 12 for first, _ in pairs) if pairs else None


def times_of(column: Any, day_first: bool) -> Any:
    """The times that a column of texts means, a pandas series in UTC, NaT where a text means none.

    Args:
        day_first: whether 01/02/2026 is in February. 01.02.2026 always is.

    >>> import pandas
    >>> times = times_of(pandas.Series(["2026-02-01", "1.2.2026", "Feb 1, 2026", "01/02/2026"]), True)
    >>> times.nunique(), str(times[0])
    (1, '2026-02-01 00:00:00+00:00')
    """
    import pandas

    column = column.astype(object)
    spelled = {value: _iso(str(value).strip(), day_first) for value in column.dropna().unique()}
    return pandas.to_datetime(column.map(spelled), utc=True, errors="coerce", format="ISO8601")


def are_dates(column: Any) -> bool:
    """Whether a column of texts has dates, or marks of missing ones, alone.

    >>> import pandas
    >>> are_dates(pandas.Series(["31.01.2026", "?"])), are_dates(pandas.Series(["31.02.2026"]))
    (True, False)
    """
    filled = column.dropna()
    written = filled[~filled.isin(_MARKS)]
    # A few rows refuse most other columns.
    for value in (str(value).strip() for value in written.head(1000)):
        if not any(kind.fullmatch(value) for kind in (_ISO, _DOTS, _SLASHES, _MONTH_FIRST, _DAY_FIRST)):
            return False
    return len(written) > 0 and bool(times_of(written, bool(is_day_first(written))).notna().all())


def missing_marks(column: Any) -> Any:
    """Where the rows of a column of numbers or dates are missing, or have a mark for it."""
    return column.isna() | column.astype(object).map(lambda value: isinstance(value, str) and value.strip() in _MARKS)


def _iso(text: str, day_first: bool) -> str:
    """The date in the order of ISO 8601; a text that is none stays."""
    if match := _DOTS.fullmatch(text):
        day, month, year = match[1], match[2], match[3]
    elif match := _SLASHES.fullmatch(text):
        (day, month) = (match[1], match[2]) if day_first else (match[2], match[1])
        year = match[3]
    elif match := _MONTH_FIRST.fullmatch(text):
        day, month, year = match[2], str(_MONTHS.index(match[1].lower()) + 1), match[3]
    elif match := _DAY_FIRST.fullmatch(text):
        day, month, year = match[1], str(_MONTHS.index(match[2].lower()) + 1), match[3]
    else:
        return text
    date = f"{year}-{month.zfill(2)}-{day.zfill(2)}"
    hour, minute, second, half = match.groups()[3:]
    if hour is None:
        return date
    if half is not None:
        if not 1 <= int(hour) <= 12:
            return text
        hour = str(int(hour) % 12 + 12 * (half.lower() == "p"))
    return f"{date}T{hour.zfill(2)}:{minute}:{second or '00'}"
