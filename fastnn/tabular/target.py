"""What the outputs of a model mean: classes, or a number."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from fastnn.tabular import texts as _spelled
from fastnn.tabular.columns import LARGEST

# A column of at most so many different whole numbers has classes.
MOST_CLASSES_OF_NUMBERS = 20


@dataclass(frozen=True)
class Target:
    """The column that a model predicts.

    Args:
        name: of the column; of several columns all names, for people.
        kind: "classification" or "regression".
        classes: the values of the classes, in the order of the outputs: texts, integers, numbers or booleans.
        mean, scale: of a number; the network's output is ``(number - mean) / scale``. A list for several columns.
        names: of several columns of numbers, one for each output; empty for one column.
    """

    name: str
    kind: str
    classes: list[Any] = field(default_factory=list)
    mean: float | list[float] = 0.0
    scale: float | list[float] = 1.0
    names: list[str] = field(default_factory=list)

    @classmethod
    def fit(cls, name: str, values: Any, task: str | None = None) -> Target:
        """The target of a column, a pandas series or an array, without missing values.

        Texts, booleans, and at most 20 different whole numbers are classes, unless ``task`` is given.

        Raises: ValueError for a target from which nothing can be learned.

        >>> Target.fit("colour", np.array(["red", "blue", "red"])).classes
        ['blue', 'red']
        >>> Target.fit("price", np.array([1.5, 2.5])).kind
        'regression'
        """
        array = _plain(values)
        if task == "regression" or (task is None and len(np.unique(array)) > MOST_CLASSES_OF_NUMBERS):
            array = _numbers(values, array)
        is_number = array.dtype.kind in "iuf"
        if is_number:
            _check_size(name, array)
        distinct = np.unique(array) if array.dtype.kind != "O" else np.array(sorted({str(v) for v in array}))
        if task is None:
            few = len(distinct) <= min(MOST_CLASSES_OF_NUMBERS, max(2, len(array) // 2))
            task = "regression" if is_number and not (few and _are_whole(distinct)) else "classification"
        if task == "regression":
            if not is_number:
                raise ValueError(f"the target {name!r} has texts such as {str(array[0])!r}; regression needs numbers")
            return cls(name, "regression", [], *_mean_and_scale(name, array))
        if len(distinct) < 2:
            raise ValueError(f"the target {name!r} has only one class, {distinct[0]}: there is nothing to learn")
        if len(distinct) > max(MOST_CLASSES_OF_NUMBERS, len(array) // 2):
            hint = "; it is a number: use --task regression" if is_number else ""
            raise ValueError(
                f"the target {name!r} has {len(distinct)} classes in {len(array)} rows, too many to learn{hint}"
            )
        whole = is_number and _are_whole(distinct)
        return cls(name, "classification", [int(v) if whole else v.item() for v in distinct])

    @classmethod
    def fit_columns(cls, frame: Any, names: list[str], task: str | None = None) -> Target:
        """The target of one column of a table, or of several columns of numbers.

        Args:
            frame: a pandas frame without missing values in these columns.
            names: of the columns.
            task: as for :meth:`fit`.

        Raises: ValueError as :meth:`fit`, and for several columns that are not all numbers.

        >>> import pandas
        >>> frame = pandas.DataFrame({"low": [1.0, 2.0], "high": [3, 7]})
        >>> target = Target.fit_columns(frame, ["low", "high"])
        >>> target.columns, target.outputs, target.mean
        (['low', 'high'], 2, [1.5, 5.0])
        """
        if len(names) == 1:
            return cls.fit(names[0], frame[names[0]], task)
        if task == "classification":
            raise ValueError("several targets must be numbers: train a model for each target that has classes")
        means: list[float] = []
        scales: list[float] = []
        for name in names:
            array = _numbers(frame[name], _plain(frame[name]))
            if array.dtype.kind not in "iuf":
                raise ValueError(
                    f"several targets must be numbers, and {name!r} has values such as {str(array[0])!r}: train a "
                    "model for each target that has classes"
                )
            _check_size(name, array)
            mean, scale = _mean_and_scale(name, array)
            means.append(mean)
            scales.append(scale)
        return cls(", ".join(names), "regression", [], means, scales, list(names))

    @property
    def label(self) -> str | list[str]:
        """The name of the column, or the names of several."""
        return self.names or self.name

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return self.names or [self.name]

    @property
    def outputs(self) -> int:
        """How many outputs the network has."""
        return len(self.classes) or len(self.columns)

    @property
    def class_names(self) -> list[str]:
        """The classes as texts."""
        return [str(value) for value in self.classes]

    def encode(self, values: Any, dtype: Any = np.float32) -> np.ndarray:
        """Indices of classes, int64 (rows,), or scaled numbers (rows, outputs).

        Args:
            values: of the column, (rows,), or a pandas frame with the columns.
            dtype: of scaled numbers.

        Raises: ValueError for a class that the target does not have, or a text instead of a number.
        """
        if self.kind == "regression":
            columns = [values[name] for name in self.columns] if hasattr(values, "columns") else [values]
            arrays = [_numbers(column, _plain(column)) for column in columns]
            for name, array in zip(self.columns, arrays, strict=True):
                if array.dtype.kind not in "iufb":
                    raise ValueError(f"the target {name!r} must be a number, found {str(array[0])!r}")
            matrix = np.stack([array.astype(np.float64) for array in arrays], axis=1)
            return ((matrix - self.mean) / self.scale).astype(dtype)
        array = _plain(values[self.name] if hasattr(values, "columns") else values)
        places = {_canonical(value): i for i, value in enumerate(self.classes)}
        distinct, inverse = np.unique(array, return_inverse=True)
        texts = [_canonical(value) for value in distinct.tolist()]
        unknown = [text for text in texts if text not in places]
        if unknown:
            known = ", ".join(self.class_names[:5]) + (", ..." if len(self.classes) > 5 else "")
            raise ValueError(f"the target {self.name!r} has the class {unknown[0]}, and the model knows {known}")
        return np.array([places[text] for text in texts], np.int64)[inverse.reshape(-1)]

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """The most probable class, or the number, of each row of the network's outputs; (rows, outputs) of several."""
        if self.kind == "regression":
            numbers = outputs.astype(np.float64) * self.scale + self.mean
            return numbers if self.names else numbers[:, 0]
        kind = object if any(isinstance(value, (str, bool)) for value in self.classes) else None
        return np.array(self.classes, kind)[outputs.argmax(1)]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for a file."""
        data = asdict(self)
        if not self.names:
            # As versions without several targets write and read it.
            del data["names"]
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Target:
        """The target of :meth:`to_dict`.

        Raises: ValueError or TypeError for other data.
        """
        target = cls(**data)
        names, classes = target.names, target.classes
        are_texts = type(names) is list and all(isinstance(name, str) for name in [target.name, *names])
        if not are_texts or len(names) == 1 or len(set(names)) < len(names):
            raise ValueError(f"not a target: {data}")
        means: Any = target.mean if names else [target.mean]
        scales: Any = target.scale if names else [target.scale]
        for numbers in (means, scales):
            if type(numbers) is not list or len(numbers) != len(target.columns):
                raise ValueError(f"not a target: {data}")
            if not all(type(number) in (int, float) for number in numbers):
                raise ValueError(f"not a target: {data}")
        if not all(abs(number) <= LARGEST for number in (*means, *scales)) or min(scales) <= 0:
            raise ValueError(f"not a target: mean {target.mean}, scale {target.scale}")
        if type(classes) is not list or not all(type(value) in (str, int, float, bool) for value in classes):
            raise ValueError("not a target: the classes must be texts, numbers or booleans")
        if len(set(map(str, classes))) < len(classes):
            raise ValueError("not a target: two classes are the same")
        if target.kind != ("classification" if classes else "regression") or (names and classes):
            raise ValueError(f"not a target: {data}")
        return target


def _check_size(name: str, array: np.ndarray) -> None:
    if not (np.abs(array) <= LARGEST).all():
        raise ValueError(f"the target {name!r} has an infinite or too large number")


def _mean_and_scale(name: str, array: np.ndarray) -> tuple[float, float]:
    """The mean and deviation of the numbers of a target; ValueError if they are all the same."""
    numbers = array.astype(np.float64)
    if len(np.unique(array)) < 2:
        raise ValueError(f"the target {name!r} has only one value, {array[0]}: there is nothing to learn")
    return float(numbers.mean()), float(numbers.std()) or 1.0


def _plain(values: Any) -> np.ndarray:
    """The values as numbers, booleans or texts."""
    array = np.asarray(values)
    if array.dtype.kind in "biufU":
        return array
    kinds = {type(value) for value in array.tolist()}
    if kinds and kinds <= {bool, np.bool_}:
        return array.astype(bool)
    if kinds and kinds <= {int, float, np.int64, np.float64, Decimal}:
        return array.astype(np.float64)
    return np.array([str(value) for value in array.tolist()])


def _numbers(values: Any, plain: np.ndarray) -> np.ndarray:
    """The numbers that a column of texts such as "$1,935.00" means; other columns as they are."""
    if plain.dtype.kind != "U" or not hasattr(values, "attrs") or not _spelled.are_numbers(values):
        return plain
    numbers = _spelled.numbers_of(values)
    return plain if numbers.isna().any() else numbers.to_numpy()


def _are_whole(numbers: np.ndarray) -> bool:
    return bool((numbers == np.floor(numbers)).all())


def _canonical(value: Any) -> str:
    """One text for the same class, read as an integer here and as a real number there."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
