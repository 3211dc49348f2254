"""How the columns of a table become the inputs of a network, by scikit-learn's transformers.

Numbers are scaled to mean 0 and variance 1, missing ones become the median, and a further input says where they were
missing. Dates are numbers of days. Texts such as "30%" and "31.1.2026" are numbers and dates, too. Other texts are
categories, with one input for each value. A fitted transformer is stored as its numbers and texts, and fitted again on
rows that give the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastnn.kernels.runtime import allocation
from fastnn.tabular import texts as _spelled
from fastnn.tabular.extras import optional

# The values of a column of texts that get an input of their own: the most frequent ones.
MOST_VALUES = 64
# Squares of larger numbers are infinite.
LARGEST = 1e100
# Inputs that are further from the mean are moved here: float32 ends at 3e38.
FURTHEST = 1e30
_MISSING = ""


@dataclass
class _Roles:
    """The columns by what they become, and for each reason the columns that are left out."""

    numbers: list[str] = field(default_factory=list)
    dates: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, is_used: np.ndarray, reason: str) -> None:
        """Keep only some of the numbers and dates, in this order."""
        names = [*self.numbers, *self.dates]
        left = [name for name, used in zip(names, is_used, strict=True) if not used]
        if left:
            self.left_out.setdefault(reason, []).extend(left)
            self.numbers = [name for name in self.numbers if name not in left]
            self.dates = [name for name in self.dates if name not in left]


class Columns:
    """The columns that a network reads, and how.

    Args:
        numbers, dates, categories: names of columns, in the order of the inputs.
        mean, scale: of the numbers and dates, in this order.
        fill: the median of each, scaled.
        indicated: places of those that have a further input, 1 where they are missing.
        values: for each column of categories its values, "" for a missing one.
        left_out: columns that were not used, by the reason.
        day_first: the dates that are written as 31/01/2026, not as 01/31/2026.
    """

    def __init__(
        self,
        numbers: list[str],
        dates: list[str],
        categories: list[str],
        mean: np.ndarray,
        scale: np.ndarray,
        fill: np.ndarray,
        indicated: list[int],
        values: list[list[str]],
        left_out: dict[str, list[str]] | None = None,
        day_first: list[str] | None = None,
    ) -> None:
        self.numbers, self.dates, self.categories = numbers, dates, categories
        self.mean, self.scale, self.fill = mean, scale, fill
        self.indicated, self.values, self.left_out = indicated, values, left_out or {}
        self.day_first = day_first or []
        self._scaler, self._imputer, self._encoder = self._transformers()

    @classmethod
    def fit(
        cls,
        frame: Any,
        *,
        rows: Any = None,
        drop: tuple[str, ...] = (),
        keep: tuple[str, ...] = (),
        categorical: tuple[str, ...] = (),
    ) -> Columns:
        """Find what each column is, and fit the transformers.

        Args:
            frame: a pandas frame without the target; all rows decide what a column is.
            rows: the places of the rows whose numbers the transformers are fitted on; all of them by default.
            drop: columns to leave out.
            keep: columns to use although they look like names or numbers of rows.
            categorical: columns of numbers that are categories.

        Raises: ValueError if a column does not exist or no column remains; ModuleNotFoundError without scikit-learn.

        >>> import pandas
        >>> frame = pandas.DataFrame({"a": [1.0, None, 3.0], "b": ["x", "y", "x"]})
        >>> columns = Columns.fit(frame)
        >>> columns.names
        ['a', 'a is missing', 'b=x', 'b=y']
        >>> columns.transform(frame).shape
        (3, 4)
        """
        optional("sklearn", "a table")
        from sklearn.impute import SimpleImputer
        from sklearn.preprocessing import StandardScaler

        for option, names in (("drop", drop), ("keep", keep), ("categorical", categorical)):
            for name in names:
                if name not in frame.columns:
                    raise ValueError(f"there is no column {name!r} to {option}{similar(name, frame.columns)}")
        roles = _roles(frame, drop, keep, categorical)
        # Of all rows, so that an error names the row of the file.
        day_first = [name for name in roles.dates if _is_day_first(frame[name])]
        matrix = _matrix(frame, roles.numbers, roles.dates, day_first)
        if rows is not None:
            matrix, frame = matrix[rows], frame.iloc[rows]
        # Rows that are held out may have the only values of a column. Its weights would stay random.
        is_used = _vary(matrix) | np.isin([*roles.numbers, *roles.dates], keep)
        roles.leave_out(is_used, "the same value, or none, in all rows to train on")
        matrix = matrix[:, is_used]
        if not (roles.numbers or roles.dates or roles.categories):
            reasons = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in roles.left_out.items())
            none = "all others are dropped" if len(frame.columns) else "there is none but the target"
            raise ValueError(f"no column is left to learn from ({reasons or none})")
        mean = scale = fill = np.zeros(0)
        indicated: list[int] = []
        if matrix.shape[1]:
            # scikit-learn warns of a column without values.
            matrix = np.where(np.isnan(matrix).all(axis=0), 0.0, matrix)
            scaler = StandardScaler().fit(matrix)
            imputer = SimpleImputer(strategy="median", keep_empty_features=True).fit(scaler.transform(matrix))
            mean, scale, fill = scaler.mean_, scaler.scale_, imputer.statistics_
            indicated = np.flatnonzero(np.isnan(matrix).any(axis=0)).tolist()
        values = []
        for name in roles.categories:
            counts = _texts(frame[name]).value_counts(sort=False)
            ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            values.append(sorted(value for value, _ in ranked[:MOST_VALUES]))
            if len(ranked) > MOST_VALUES:
                reason = f"only the {MOST_VALUES} most frequent of many values have an input"
                roles.left_out.setdefault(reason, []).append(name)
        return cls(
            roles.numbers, roles.dates, roles.categories, mean, scale, fill, indicated, values, roles.left_out,
            [name for name in day_first if name in roles.dates],
        )  # fmt: skip

    def _transformers(self) -> tuple[Any, Any, Any]:
        """scikit-learn's transformers with these numbers, by their public interface."""
        optional("sklearn", "a table")
        from sklearn.impute import SimpleImputer
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        scaler = imputer = encoder = None
        if len(self.mean):
            # Only the means and scales are read.
            scaler = StandardScaler()
            scaler.mean_, scaler.scale_, scaler.var_ = self.mean, self.scale, self.scale**2
            scaler.n_features_in_, scaler.n_samples_seen_ = len(self.mean), 1
            # The median of equal rows is the row. A missing number in one of them asks for an indicator.
            rows = np.repeat(self.fill[None], 2, axis=0)
            rows[1, self.indicated] = np.nan
            imputer = SimpleImputer(strategy="median", add_indicator=bool(self.indicated), keep_empty_features=True)
            imputer.fit(rows)
        if self.values:
            encoder = OneHotEncoder(
                categories=[np.array(values, object) for values in self.values], handle_unknown="ignore",
                sparse_output=False, dtype=np.float32,
            )  # fmt: skip
            encoder.fit(np.array([[values[0] for values in self.values]], object))
        return scaler, imputer, encoder

    @property
    def names(self) -> list[str]:
        """The names of the inputs."""
        numbers = [*self.numbers, *self.dates]
        return [
            *numbers,
            *[f"{numbers[i]} is missing" for i in self.indicated],
            *[
                f"{name}={value}" if value != _MISSING else f"{name} is missing"
                for name, values in zip(self.categories, self.values, strict=True)
                for value in values
            ],
        ]

    def transform(self, frame: Any, dtype: Any = np.float32) -> np.ndarray:
        """The inputs (rows, inputs). Other columns are ignored; values not seen in training give zeros.

        Args:
            frame: a pandas frame.
            dtype: of the inputs, float32 or float64.

        Raises: ValueError for a missing column, or a text in a column of numbers, with the row.
        """
        needed = [*self.numbers, *self.dates, *self.categories]
        missing = [name for name in needed if name not in frame.columns]
        if missing:
            some = ", ".join(map(repr, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            raise ValueError(
                f"the model needs the column{'s' * (len(missing) > 1)} {some}{similar(missing[0], frame.columns)}"
            )
        parts = []
        if self._scaler is not None:
            matrix = self.matrix(frame)
            scaled = self._imputer.transform(self._scaler.transform(matrix))
            parts.append(np.clip(scaled, -FURTHEST, FURTHEST).astype(dtype))
        if self._encoder is not None:
            parts.append(self._encoder.transform(self.texts(frame)).astype(dtype, copy=False))
        return np.ascontiguousarray(np.concatenate(parts, axis=1))

    def in_units(self, inputs: np.ndarray) -> np.ndarray:
        """The inputs with numbers in the units of the table, float64 (rows, inputs)."""
        out = inputs.astype(np.float64)
        count = len(self.mean)
        out[:, :count] = out[:, :count] * self.scale + self.mean
        return out

    def matrix(self, frame: Any) -> np.ndarray:
        """The numbers and dates before they are scaled, float64 (rows, columns), NaN where missing."""
        return _matrix(frame, self.numbers, self.dates, self.day_first)

    def texts(self, frame: Any) -> np.ndarray:
        """The categories as texts, (rows, columns), "" where missing."""
        out = np.full((len(frame), len(self.categories)), None, object)
        for i, name in enumerate(self.categories):
            out[:, i] = _texts(frame[name])
        return out

    def unknown(self, frame: Any) -> dict[str, list[str]]:
        """For each column of categories the values that training did not see, if there are any."""
        found = {}
        for name, values in zip(self.categories, self.values, strict=True):
            new = sorted(set(_texts(frame[name]).unique()) - set(values))
            if new and len(values) < MOST_VALUES:
                found[name] = new
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for a file."""
        return {
            "numbers": self.numbers, "dates": self.dates, "categories": self.categories, "mean": self.mean.tolist(),
            "scale": self.scale.tolist(), "fill": self.fill.tolist(), "indicated": self.indicated,
            "values": self.values, "left_out": self.left_out,
            # Versions that do not know the key read all other files.
            **({"day_first": self.day_first} if self.day_first else {}),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Columns:
        """The columns of :meth:`to_dict`.

        Raises: ValueError, TypeError or KeyError for other data.
        """
        arrays = {name: np.array(data[name], np.float64) for name in ("mean", "scale", "fill")}
        count = len(data["numbers"]) + len(data["dates"])
        if {array.shape for array in arrays.values()} != {(count,)} or len(data["values"]) != len(data["categories"]):
            raise ValueError("the columns of the model and their numbers do not fit together")
        for names in ([*data["numbers"], *data["dates"], *data["categories"]], *data["values"]):
            if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
                raise ValueError("the names of the columns, and of their values, must be different texts")
        if not all(data["values"]):
            raise ValueError("a column of categories has no values")
        if not all((np.abs(array) <= LARGEST).all() for array in arrays.values()) or not (arrays["scale"] > 0).all():
            raise ValueError("the columns have a mean, scale or median that is no number")
        places = data["indicated"]
        if not all(type(i) is int and 0 <= i < count for i in places) or len(set(places)) < len(places):
            raise ValueError(f"'indicated' must have places of numbers and dates, found {places}")
        day_first = data.get("day_first", [])
        if type(day_first) is not list or not all(name in data["dates"] for name in day_first):
            raise ValueError(f"'day_first' must have names of dates, found {day_first}")
        left_out = data["left_out"]
        if not all(isinstance(text, str) for reason, names in left_out.items() for text in (reason, *names)):
            raise ValueError("'left_out' must have texts")
        return cls(**{**data, **arrays})


def _vary(matrix: np.ndarray) -> np.ndarray:
    """Whether the numbers of each column differ, or some are missing and others not."""
    is_missing = np.isnan(matrix)
    low, high = np.where(is_missing, np.inf, matrix).min(axis=0), np.where(is_missing, -np.inf, matrix).max(axis=0)
    result: np.ndarray = (low < high) | (is_missing.any(axis=0) & ~is_missing.all(axis=0))
    return result


def similar(name: str, names: Any) -> str:
    """The end of a message about a column that does not exist."""
    import difflib

    lowered = {str(other).lower(): other for other in names}
    close = difflib.get_close_matches(name.lower(), lowered, 1)
    if close:
        return f"; did you mean {lowered[close[0]]!r}?"
    some = ", ".join(list(names)[:8]) + (", ..." if len(names) > 8 else "")
    return f"; the columns are {some}"


def _roles(frame: Any, drop: tuple[str, ...], keep: tuple[str, ...], categorical: tuple[str, ...]) -> _Roles:
    from pandas.api import types

    roles = _Roles()

    def leave_out(name: str, reason: str) -> None:
        roles.left_out.setdefault(reason, []).append(name)

    for name in frame.columns:
        column = frame[name]
        if name in drop:
            continue
        if any(isinstance(value, (list, tuple, dict, set, np.ndarray)) for value in column.head(100)):
            leave_out(name, "lists, not numbers or texts")
            continue
        distinct = column.nunique(dropna=False)
        if distinct < 2 and name not in keep:
            leave_out(name, "no value" if column.isna().all() else "the same value in each row")
        elif name in categorical:
            roles.categories.append(name)
        elif types.is_datetime64_any_dtype(column):
            roles.dates.append(name)
        elif _is_numeric(column):
            if name in keep or not _numbers_the_rows(column):
                roles.numbers.append(name)
            else:
                leave_out(name, "it numbers the rows")
        elif _spelled.are_dates(column):
            roles.dates.append(name)
        elif distinct > max(10, len(column) // 2) and name not in keep:
            leave_out(name, "nearly as many different texts as rows")
        else:
            roles.categories.append(name)
    return roles


def _is_numeric(column: Any) -> bool:
    from pandas.api import types

    if types.is_timedelta64_dtype(column):
        return True
    if types.is_numeric_dtype(column) or types.is_bool_dtype(column):
        return not types.is_complex_dtype(column)
    return _has_numbers(column) or _spelled.are_numbers(column)


def _has_numbers(column: Any) -> bool:
    """Whether a column of objects has booleans, or numbers, and missing values."""
    from pandas.api import types

    return types.is_object_dtype(column) and types.infer_dtype(column, skipna=True) in (
        "boolean", "integer", "floating", "mixed-integer-float", "decimal",
    )  # fmt: skip


def _numbers_the_rows(column: Any) -> bool:
    """Whether the numbers go up by one from row to row."""
    array = np.asarray(column)
    return array.dtype.kind in "iu" and len(array) > 10 and bool((np.diff(np.sort(array)) == 1).all())


def _is_day_first(column: Any) -> bool:
    return not _is_time(column) and bool(_spelled.is_day_first(column))


def _days(column: Any, day_first: bool) -> Any:
    """Days since 1970, a pandas series of float64, NaN for a value that is not a date."""
    import pandas
    from pandas.api import types

    if types.is_numeric_dtype(column):
        # 20260131 is a date; pandas 4 would take it for a time since 1970.
        column = _texts(column)
    times = pandas.to_datetime(column, utc=True) if _is_time(column) else _spelled.times_of(column, day_first)
    return (times - pandas.Timestamp(0, tz="UTC")) / pandas.Timedelta(days=1)


def _is_time(column: Any) -> bool:
    from pandas.api import types

    return bool(types.is_datetime64_any_dtype(column))


def _matrix(frame: Any, numbers: list[str], dates: list[str], day_first: list[str]) -> np.ndarray:
    """Numbers and dates as float64 (rows, columns), NaN where missing."""
    import pandas
    from pandas.api import types

    out = allocation.empty((len(frame), len(numbers) + len(dates)))
    for i, name in enumerate(numbers):
        column = frame[name]
        if types.is_timedelta64_dtype(column):
            column = column / pandas.Timedelta(days=1)
        elif not types.is_numeric_dtype(column) and not _has_numbers(column):
            parsed = _spelled.numbers_of(column).fillna(pandas.to_numeric(column, errors="coerce"))
            _refuse(name, "a number", column, parsed)
            column = parsed
        out[:, i] = column.astype("Float64").to_numpy(np.float64, na_value=np.nan)
        too_large = np.abs(out[:, i]) > LARGEST
        if too_large.any():
            row = int(too_large.argmax())
            number = "an infinite number" if np.isinf(out[row, i]) else f"{out[row, i]:g}, which is too large,"
            raise ValueError(f"the column {name!r} has {number} in row {row + 1}")
    for i, name in enumerate(dates, len(numbers)):
        parsed = _days(frame[name], name in day_first)
        _refuse(name, "a date such as 2026-01-31", frame[name], parsed)
        out[:, i] = parsed
    return out


def _refuse(name: str, expected: str, column: Any, parsed: Any) -> None:
    wrong = (parsed.isna() & ~_spelled.missing_marks(column)).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"the column {name!r} must be {expected}, found {str(column.iloc[row])!r} in row {row + 1}")


def _texts(column: Any) -> Any:
    """The values as texts, a pandas series of Python strings; whole numbers without a point, "" where missing."""

    def text(value: Any) -> str:
        return str(int(value)) if isinstance(value, (float, np.floating)) and float(value).is_integer() else str(value)

    import pandas

    # The place of a missing value is -1.
    places, values = pandas.factorize(column.astype(object))
    texts = np.array([*map(text, values), _MISSING], object)
    return pandas.Series(texts[places], index=column.index, dtype=object)
