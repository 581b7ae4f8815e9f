"""Meaning of label values: one rule for lists, arrays, columns, datasets and files.

1. A label is its name. Strings and bytes are names as they are, without the space around them; numbers are named as
   one writes them, and a whole number as an integer: 1, 1.0, "1.0" and `np.float64(1)` are all "1". Booleans are "True"
   and "False". None, NaN, infinity and nothing but space are no labels: they are refused, with their row.
2. A value whose name is that of a class means this class. "true", "True" and "TRUE" are one name, unless the
   classes tell them apart. Two classes called 0 and 1, or false and true, go by both pairs of names.
3. Any other whole number is an id, 0 to C - 1, the position of a class. But where the name of any class is a number
   (or true or false), numbers are names and never ids: of the ratings 1 to 3, 0 is none, and 1 is the first.
   Of two classes, False and True may mean the ids 0 and 1.
4. Everything else is refused, with its row.

So what a value means depends on its name alone, and rows mean the same wherever they come from. There is one exception:
targets that are one column of numbers for each class, (B, C), hold no names; their columns are the classes in order. So
do B lists of C zeros and ones where C is the number of classes. Where the classes are not known yet, as in a `Split`,
such arrays and equally long lists of zeros and ones are refused. Batches of token ids, as a task makes them of
texts, hold ids by definition.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tftransformer.data.dedup import well_formed
from tftransformer.data.tables import as_column, is_table, the_column
from tftransformer.errors import TransformerError, near_miss

# Whole numbers as pandas writes them once a column has a gap. `data.stream_labels` has the same rule for tensors.
WHOLE_DECIMAL = r"^(-?(?:0|[1-9][0-9]*))\.0+$"
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TRUTH_NAMES = {True: ("True", "true", "TRUE"), False: ("False", "false", "FALSE")}
# These hold labels and are none.
SEVERAL = (list, tuple, set, frozenset, dict, np.ndarray)
_TRUTH = {name: value for value, names in _TRUTH_NAMES.items() for name in names}
# What NumPy makes room for when it turns a float into a string.
_FLOAT_CHARACTERS = 32


def label_name(value: Any) -> str | None:
    """The name of a label, or None where the value is no label.

    Example:
        >>> [label_name(value) for value in (" spam", b"spam", 1, 1.0, "1.0", True, 0.5, float("nan"), "")]
        ['spam', 'spam', '1', '1', '1', 'True', '0.5', None, None]
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if not isinstance(value, str):
        if _is_missing(value) or isinstance(value, SEVERAL):
            return None
        if isinstance(value, (float, np.floating)):
            if not math.isfinite(value):
                return None
            value = int(value) if value == int(value) else value
    name = well_formed(str(value).strip())
    whole = re.match(WHOLE_DECIMAL, name)
    return (str(int(whole[1])) if whole else name) or None


def label_names(labels: Any) -> tuple[str, ...]:
    """The names of classes in the order of their ids, from `labels` as a user gives them.

    Args:
        labels: A list, tuple, array or column of names, numbers or booleans, all different.

    Raises:
        TransformerError: Not a sequence of at least two different names.

    Example:
        >>> label_names([1, 2, 3])
        ('1', '2', '3')
    """
    values = None if isinstance(labels, (str, bytes, Mapping, set, frozenset)) else as_column(labels)
    if values is None:
        raise TransformerError(f"labels must be the names of the classes, in a list; got {labels!r:.80}")
    names = [label_name(value) for value in values]
    if len(set(names)) != len(names) or len(names) < 2:
        raise TransformerError(f"labels must be at least two different names; got {list(values)[:8]}")
    if None in names:
        raise TransformerError(f"labels must be names; got {values[names.index(None)]!r}")
    return tuple(names)


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Distinct labels in order: by value where all of them are integers, else alphabetically.

    Example:
        >>> sort_labels(["10", "9", "10"])
        ('9', '10')
    """
    distinct = set(labels)
    try:
        return tuple(sorted(distinct, key=lambda label: (int(label), label)))
    except ValueError:
        return tuple(sorted(distinct))


def is_number(name: str) -> bool:
    """Return whether the name of a label reads as a number."""
    return _NUMBER.fullmatch(name) is not None


def label_ids(labels: Sequence[str]) -> dict[str, int]:
    """The id of every name that means a class, by the rule of this module.

    Example:
        >>> label_ids(["no", "yes"])
        {'no': 0, 'yes': 1, '0': 0, '1': 1, 'False': 0, 'false': 0, 'FALSE': 0, 'True': 1, 'true': 1, 'TRUE': 1}
        >>> label_ids(["1", "0"])["True"], label_ids(["true", "false"])["1"], label_ids(["1", "2", "3"])
        (0, 0, {'1': 0, '2': 1, '3': 2})
    """
    ids = {name: i for i, name in enumerate(labels)}
    truths = {_TRUTH[name]: i for name, i in reversed(ids.items()) if name in _TRUTH}
    numbers = {name: i for name, i in ids.items() if is_number(name)}
    if not truths and not numbers:
        numbers = {str(i): i for i in range(len(labels))}
    if len(labels) == 2:
        if set(numbers) == {"0", "1"}:
            truths = {False: numbers["0"], True: numbers["1"]}
        elif len(truths) == 2:
            numbers = {"0": truths[False], "1": truths[True]}
    for name, i in numbers.items():
        ids.setdefault(name, i)
    for truth, i in truths.items():
        for name in _TRUTH_NAMES[truth]:
            ids.setdefault(name, i)
    return ids


def rule_for(labels: Sequence[str]) -> str:
    """Return, for messages, what y must hold for these classes.

    Example:
        >>> rule_for(["no", "yes"]), rule_for(["1", "2"])
        ('y must hold labels among no, yes, or ids from 0 to 1', 'y must hold labels among 1, 2')
    """
    shown = ", ".join(labels[:10]) + (", …" if len(labels) > 10 else "")
    named = any(name in _TRUTH or is_number(name) for name in labels)
    return f"y must hold labels among {shown}" + ("" if named else f", or ids from 0 to {len(labels) - 1}")


def encode_targets(targets: Sequence | np.ndarray, labels: Sequence[str], multi_label: bool = False) -> np.ndarray:
    """Label names or ids as numbers; the module's docstring says which is which.

    Args:
        targets: B labels, for multi-label data B lists of labels; or an array (B, C) of one column for each label,
            also as B lists of C zeros and ones.
        labels: The C label names; the position of a name is its id.
        multi_label: Whether a row has any number of labels.

    Returns:
        int32 (B,), or float32 (B, C) for multi-label data.

    Raises:
        TransformerError: A label is missing, unknown, or an id out of range; it names the row.

    Example:
        >>> encode_targets(["b", "a"], ["a", "b"]).tolist(), encode_targets([3, 5], ["3", "5"]).tolist()
        ([1, 0], [0, 1])
    """
    ids = label_ids(labels)
    if isinstance(targets, np.ndarray) and targets.ndim == 2 and targets.shape[1] == 1 and not multi_label:
        targets = targets[:, 0]
    if (columns := _as_columns(targets, len(labels))) is not None:
        return _from_columns(columns, len(labels), multi_label)
    id_of = _remembered(lambda label, row: _id_of(label, row, ids, labels))
    if not multi_label:
        _refuse_lost_gaps(targets)
        return np.fromiter((id_of(t, row) for row, t in enumerate(targets)), "int32", len(targets))
    matrix = np.zeros((len(targets), len(labels)), "float32")
    for row, target in enumerate(targets):
        for label in several(target):
            matrix[row, id_of(label, row)] = 1.0
    return matrix


def several(target: Any) -> Iterable:
    """The labels of a multi-label row; a single one is a list of one."""
    alone = isinstance(target, (str, bytes)) or not isinstance(target, Iterable)
    return [target] if alone else target


def label_values(labels: Any, argument: str) -> list | np.ndarray:
    """The labels of B rows from a list, an array, a column, or a table of a single one.

    Raises:
        TransformerError: It is none of these; the message begins with the argument.
    """
    values = as_column(the_column(labels, argument) if is_table(labels) else labels)
    if values is None or isinstance(labels, (str, bytes, Mapping)):
        raise TransformerError(f"{argument} must be labels in a list, an array or a column; got {labels!r:.80}")
    return values


def named_targets(targets: Any, multi_label: bool, where: Callable[[int], str]) -> list:
    """Labels as names: a string a row, or for multi-label data a tuple of them.

    Args:
        targets: B labels, or B lists of labels.
        multi_label: Whether a row has any number of labels.
        where: Callable from the number of a row to what messages call it.

    Raises:
        TransformerError: A value is no label.

    Example:
        >>> named_targets([1.0, " a"], False, str), named_targets([{"b", "a"}, ()], True, str)
        (['1', 'a'], [('a', 'b'), ()])
    """
    if not multi_label:
        _refuse_lost_gaps(targets)
    if isinstance(targets, np.ndarray) and targets.ndim > 1 and targets.dtype.kind in "iufb":
        raise TransformerError(f"labels must be names, or lists of names; an array of shape {targets.shape} has none")
    if multi_label and _are_marks(targets):
        raise TransformerError(
            f"labels must be names, or lists of names; equally long lists of 0 and 1, such as {targets[0]!r:.40}, may be "
            "columns or ids: give the names of the labels that each row has"
        )

    def find(value: Any, row: int) -> str:
        found = label_name(value)
        if found is None:
            raise TransformerError(f"labels: {where(row)} has no label; got {value!r:.40}")
        return found

    name = _remembered(find)
    if not multi_label:
        return [name(value, row) for row, value in enumerate(targets)]
    rows: list[tuple[str, ...]] = []
    for row, target in enumerate(targets):
        names = dict.fromkeys(name(value, row) for value in several(target))
        rows.append(sort_labels(names) if isinstance(target, (set, frozenset)) else tuple(names))
    return rows


def _remembered(find: Callable[[Any, int], Any]) -> Callable[[Any, int], Any]:
    """A function of a value and its row that is called once for each value: there are few labels in many rows."""
    found: dict[tuple[type, Any], Any] = {}

    def look_up(value: Any, row: int) -> Any:
        try:
            return found[type(value), value]  # 1 and True are equal
        except KeyError:
            return found.setdefault((type(value), value), find(value, row))
        except TypeError:  # not hashable
            return find(value, row)

    return look_up


def _is_missing(value: Any) -> bool:
    try:
        return value is None or bool(value != value)
    except (TypeError, ValueError):
        # pandas' NA is neither equal to itself nor not; an array is several values.
        return not hasattr(value, "__len__")


def _id_of(label: Any, row: int, ids: Mapping[str, int], labels: Sequence[str]) -> int:
    name = label_name(label)
    if name is None:
        raise TransformerError(f"labels: row {row} (from 0) has no label; got {label!r:.40}")
    if name not in ids:
        alike = [known for known in labels if known.casefold() == name.casefold()]
        hint = f"; did you mean {alike[0]!r}?" if alike else near_miss(name, labels)
        shown = repr(name) if isinstance(label, (str, bytes)) else name
        raise TransformerError(f"{rule_for(labels)}; got {shown:.80} in row {row} (from 0){hint}")
    return ids[name]


def _as_columns(targets: Any, count: int) -> np.ndarray | None:
    """Targets of one column for each label as an array (B, C); None where they are labels, or lists of them."""
    if isinstance(targets, np.ndarray):
        return targets if targets.ndim == 2 and targets.dtype.kind in "iufb" else None
    if not _are_marks(targets) or len(targets[0]) != count:
        return None
    return np.array([list(row) for row in targets], "float32")


def _are_marks(rows: Sequence) -> bool:
    """Return whether `rows` are equally long lists of zeros and ones, two or more in each."""
    if not len(rows) or not all(isinstance(row, (list, tuple, np.ndarray)) for row in rows):
        return False
    if len(rows[0]) < 2 or any(len(row) != len(rows[0]) for row in rows):
        return False
    numeric = (int, float, np.number, np.bool_)
    return all(isinstance(value, numeric) and value in (0, 1) for row in rows for value in row)


def _from_columns(columns: np.ndarray, count: int, multi_label: bool) -> np.ndarray:
    if columns.shape[1] != count:
        raise TransformerError(f"y must have one column for each of the {count} labels; got {columns.shape[1]}")
    finite = np.isfinite(columns)
    wrong = ~finite.all(axis=1)
    if not multi_label:
        wrong |= ~columns.any(axis=1)  # no column is marked: argmax would answer the first
        rule = "a number other than 0 in the column of its label"
    else:
        wrong |= ((columns < 0) | (columns > 1)).any(axis=1)
        rule = "numbers from 0 to 1"
    if wrong.any():
        row = int(np.argmax(wrong))
        raise TransformerError(f"y must have {rule} in each row; got {columns[row].tolist()} in row {row} (from 0)")
    return columns.astype("float32") if multi_label else columns.argmax(axis=1).astype("int32")


def _refuse_lost_gaps(targets: Any) -> None:
    """Raise where an array of strings holds the 'nan' that NumPy makes of a missing label beside strings."""
    if not isinstance(targets, np.ndarray) or targets.dtype.kind != "U":
        return
    lost = np.flatnonzero(targets.reshape(-1) == "nan")
    made = targets.dtype.itemsize == 4 * _FLOAT_CHARACTERS
    if len(lost) and made and np.strings.str_len(targets).max() < _FLOAT_CHARACTERS:
        raise TransformerError(
            f"labels: row {lost[0]} (from 0) has no label; got NaN, of which NumPy has made the string 'nan'"
        )
