"""The forms in which texts and labels may be handed to `fit`, made into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tftransformer.data.folding import well_formed
from tftransformer.data.split import Split, sort_labels
from tftransformer.errors import TransformerError, near_miss


@dataclass(frozen=True)
class Records:
    """Texts in one form, whatever form they came in.

    Args:
        first: B texts.
        second: B second texts, for pairs, or None.
        targets: B label names, ids, or tuples of names; or an array (B, C); or None.
        weights: float32 (B,), or None.
    """

    first: list[str]
    second: list[str] | None = None
    targets: Sequence | np.ndarray | None = None
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.first)

    def take(self, indices: Sequence[int]) -> Records:
        """The rows at these positions."""
        indices = [int(i) for i in indices]

        def pick(values):
            if isinstance(values, np.ndarray):
                return values[indices]
            return None if values is None else [values[i] for i in indices]

        return Records(pick(self.first), pick(self.second), pick(self.targets), pick(self.weights))


def as_records(x: Any, y: Any = None, sample_weight: Any = None) -> Records:
    """Takes any form of texts that `fit`, `evaluate` and `predict` accept.

    Args:
        x: A `Split`; a string; B strings or bytes in a list or in a string array of any kind; B pairs
            in a list or in an array (B, 2); a tuple of two lists of B; a dict with `text` and `text_pair`;
            a string tensor; or a finite `tf.data.Dataset` of x, (x, y) or (x, y, weight), batched or not.
            Two strings in a list are two texts; a pair is a tuple of two strings in the list.
        y: B label names or ids, an array (B, C), or B lists of names; None with a Split or a Dataset.
        sample_weight: B numbers.

    Raises:
        TransformerError: if the lengths differ, a text is not a string, or labels come twice.

    Example:
        >>> as_records([("Who?", "She."), ("Why?", "Because.")], [0, 1]).second
        ['She.', 'Because.']
    """
    if isinstance(x, Split):
        if y is not None:
            raise TransformerError("y must be None with a Split, which has its own targets")
        x, y = x.texts, x.targets
    elif hasattr(x, "element_spec"):
        if y is not None or sample_weight is not None:
            raise TransformerError(
                "y and sample_weight must be None with a tf.data.Dataset, which yields them"
            )
        x, y, sample_weight = _from_dataset(x)
    first, second = _sides(x)
    if y is not None:
        y = y.numpy() if hasattr(y, "numpy") else y
        y = y if isinstance(y, np.ndarray) and y.dtype.kind in "iufb" else list(y)
        if len(y) != len(first):
            raise TransformerError(
                f"y must have as many labels as there are texts, {len(first)}; got {len(y)}"
            )
    weights = None
    if sample_weight is not None:
        weights = np.asarray(sample_weight, "float32").reshape(-1)
        if len(weights) != len(first):
            raise TransformerError(
                f"sample_weight must have as many numbers as there are texts, {len(first)};"
                f" got {len(weights)}"
            )
    return Records(first, second, y, weights)


def as_split(texts: Any, labels: Any, name: str = "train") -> Split:
    """A split from texts and labels in memory; labels that are lists or tuples make it multi-label.

    Raises:
        TransformerError: as `as_records`, and for a row without a label.

    Example:
        >>> as_split(["a", "b"], [0, 1]).targets
        ['0', '1']
    """
    records = as_records(texts, labels)
    rows = list(records.first) if records.second is None else list(zip(*_both(records), strict=True))
    if records.targets is None:
        return Split(rows, None, name)
    targets = [t.item() if isinstance(t, np.generic) else t for t in records.targets]
    multi_label = any(isinstance(t, (list, tuple, set, frozenset)) for t in targets)
    if multi_label:
        names = [
            tuple(
                sort_labels(_name(item, row) for item in t)
                if isinstance(t, (set, frozenset))
                else dict.fromkeys(_name(item, row) for item in t)
            )
            for row, t in enumerate(targets)
        ]
    else:
        names = [_name(t, row) for row, t in enumerate(targets)]
    return Split(rows, names, name, multi_label)


def encode_targets(
    targets: Sequence | np.ndarray, labels: Sequence[str], multi_label: bool = False
) -> np.ndarray:
    """Label names or ids as numbers.

    Strings are names. Integers are ids, 0 to C - 1, unless every label name is itself an integer: then
    they are names, as in the file they came from. An array (B, C) is taken as it is.

    Args:
        targets: B labels; for multi-label data B lists of labels, or an array (B, C).
        labels: The C label names; the position of a name is its id.

    Returns:
        int32 (B,), or float32 (B, C) for multi-label data.

    Raises:
        TransformerError: if a label is unknown, or an id out of range.

    Example:
        >>> encode_targets(["b", "a"], ["a", "b"]).tolist(), encode_targets([3, 5], ["3", "5"]).tolist()
        ([1, 0], [0, 1])
    """
    ids = {name: i for i, name in enumerate(labels)}
    if isinstance(targets, np.ndarray) and targets.ndim == 2 and targets.shape[1] == 1 and not multi_label:
        targets = targets[:, 0]
    if isinstance(targets, np.ndarray) and targets.ndim == 2 and targets.dtype.kind in "iufb":
        if targets.shape[1] != len(ids):
            raise TransformerError(
                f"y must have one column for each of the {len(ids)} labels; got {targets.shape[1]}"
            )
        return targets.astype("float32") if multi_label else targets.argmax(axis=1).astype("int32")
    numeric = bool(ids) and all(name.removeprefix("-").isdigit() for name in ids)

    def id_of(label, row: int) -> int:
        if isinstance(label, (bool, np.bool_)):
            label = int(label)
        if isinstance(label, (int, np.integer, float, np.floating)) and not numeric:
            if label != int(label) or not 0 <= label < len(ids):
                raise TransformerError(
                    f"y must hold label ids from 0 to {len(ids) - 1} or label names; got {label} in row {row}"
                )
            return int(label)
        name = _name(label, row)
        if name not in ids:
            shown = ", ".join(list(ids)[:10]) + (", …" if len(ids) > 10 else "")
            raise TransformerError(
                f"y must hold labels among {shown}; got {name!r} in row {row}{near_miss(name, ids)}"
            )
        return ids[name]

    if not multi_label:
        return np.fromiter((id_of(t, row) for row, t in enumerate(targets)), "int32", len(targets))
    matrix = np.zeros((len(targets), len(ids)), "float32")
    for row, target in enumerate(targets):
        for label in [target] if isinstance(target, (str, bytes)) else target:
            matrix[row, id_of(label, row)] = 1.0
    return matrix


def _both(records: Records) -> tuple[list[str], list[str]]:
    return records.first, records.second


def _name(label, row: int) -> str:
    if isinstance(label, bytes):
        label = label.decode("utf-8", errors="replace")
    if isinstance(label, (float, np.floating)) and label == label and label == int(label):
        label = int(label)
    if label is None or (isinstance(label, float) and label != label) or not str(label).strip():
        raise TransformerError(f"labels: row {row} (from 0) has no label")
    return str(label).strip()


def _text(value, row: int) -> str:
    if isinstance(value, str):
        return well_formed(str(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    raise TransformerError(f"each text must be a string; got {type(value).__name__} in row {row} (from 0)")


def _sides(x) -> tuple[list[str], list[str] | None]:
    if isinstance(x, dict):
        if "text" not in x or set(x) - {"text", "text_pair"}:
            raise TransformerError(f"x must have the keys text and, for pairs, text_pair; got {', '.join(x)}")
        x = (x["text"], x["text_pair"]) if "text_pair" in x else x["text"]
    if isinstance(x, (str, bytes)):
        x = [x]
    if isinstance(x, tuple) and len(x) == 2 and not isinstance(x[0], (str, bytes)):
        first, _ = _sides(x[0])
        second, _ = _sides(x[1])
        if len(first) != len(second):
            raise TransformerError(
                f"both sides of the pairs must have equally many texts; got {len(first)} and {len(second)}"
            )
        return first, second
    try:
        values = list(x.numpy() if hasattr(x, "numpy") else x)
    except TypeError:
        raise TransformerError(
            f"x must be texts: a Split, a list of strings or of pairs, or a tf.data.Dataset; got {x!r}"
        ) from None
    pairs = [not isinstance(v, (str, bytes)) and hasattr(v, "__len__") and len(v) == 2 for v in values]
    if values and all(pairs):
        return (
            [_text(v[0], row) for row, v in enumerate(values)],
            [_text(v[1], row) for row, v in enumerate(values)],
        )
    return [_text(v, row) for row, v in enumerate(values)], None


def _from_dataset(dataset) -> tuple:
    """Texts, labels and weights of a finite tf.data.Dataset, batched or not."""
    if int(dataset.cardinality()) == -1:
        raise TransformerError("x must be a finite tf.data.Dataset; it repeats without end, use take(n)")
    if is_batched(dataset):
        dataset = dataset.unbatch()
    rows = list(dataset.as_numpy_iterator())
    width = len(dataset.element_spec) if isinstance(dataset.element_spec, tuple) else 1
    columns = [[row[i] for row in rows] for i in range(width)] if width > 1 else [
        [row[0] for row in rows] if isinstance(dataset.element_spec, tuple) else rows
    ]  # fmt: skip
    x = columns[0]
    if x and isinstance(x[0], dict):
        x = {key: [row[key] for row in x] for key in x[0]}
    y = columns[1] if width > 1 else None
    if y and isinstance(y[0], np.ndarray) and y[0].ndim and y[0].dtype.kind in "iufb":
        y = np.stack(y)
    return x, y, columns[2] if width > 2 else None


def is_batched(dataset: Any) -> bool:
    """Whether a tf.data.Dataset of (text, …) yields batches: its texts then have rank 1.

    A pair is a tuple of two scalars or a dict; one tensor of shape (2,) cannot be told from a batch of
    two texts and counts as a batch.
    """
    spec = dataset.element_spec
    spec = spec[0] if isinstance(spec, tuple) else spec
    while isinstance(spec, (tuple, dict)):
        spec = next(iter(spec.values())) if isinstance(spec, dict) else spec[0]
    return spec.shape.rank is None or spec.shape.rank >= 1
