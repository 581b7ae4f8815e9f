"""The forms in which texts and labels may be handed to `fit`, made into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tftransformer.data.dedup import Text, well_formed
from tftransformer.data.labels import label_values
from tftransformer.data.split import Split
from tftransformer.data.tables import as_column, columns_of, is_table
from tftransformer.errors import TransformerError


@dataclass(frozen=True)
class Texts:
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

    @property
    def sides(self) -> list[list[str]]:
        """The first texts and, for pairs, the second ones."""
        return [self.first] if self.second is None else [self.first, self.second]

    @property
    def rows(self) -> list[Text]:
        """B strings, or B pairs of them."""
        return self.first if self.second is None else list(zip(self.first, self.second, strict=True))

    def take(self, indices: Sequence[int]) -> Texts:
        """The rows at these positions."""
        indices = [int(i) for i in indices]

        def pick(values):
            if isinstance(values, np.ndarray):
                return values[indices]
            return None if values is None else [values[i] for i in indices]

        return Texts(pick(self.first), pick(self.second), pick(self.targets), pick(self.weights))


def as_texts(x: Any, y: Any = None, sample_weight: Any = None) -> Texts:
    """Takes any form of texts that `fit`, `evaluate` and `predict` accept.

    Args:
        x: A `Split`; a string; B strings or bytes in a list, in a string array or tensor, or in a column of pandas or
            pyarrow; B pairs in a list (or tuple) of them, or in an array (B, 2); a tuple of two lists or columns of
            B; a dict with `text` and, for pairs, `text_pair`, and nothing else; a table (a DataFrame, say) with these
            columns, whose other columns are not looked at, or of a single column; or a finite `tf.data.Dataset` of x,
            (x, y) or (x, y, weight), batched or not. Two strings in a list are two texts; a pair is a tuple of two.
        y: B label names or ids in any such form, an array (B, C), or B lists of names; None with a Split or a
            Dataset.
        sample_weight: B finite numbers of at least 0, not all of them 0.

    Raises:
        TransformerError: if the lengths differ, a weight means nothing, a text is not a string, labels come twice, or it is not plain which
            columns of a table are meant.

    Example:
        >>> as_texts([("Who?", "She."), ("Why?", "Because.")], [0, 1]).second
        ['She.', 'Because.']
    """
    if isinstance(x, Split):
        if y is not None:
            raise TransformerError("y must be None with a Split, which has its own targets")
        x, y = x.texts, x.targets
    elif hasattr(x, "element_spec"):
        if y is not None or sample_weight is not None:
            raise TransformerError("y and sample_weight must be None with a tf.data.Dataset, which yields them")
        x, y, sample_weight = _from_dataset(x)
    first, second = _sides(x)
    if y is not None:
        y = label_values(y, "y")
        if len(y) != len(first):
            raise TransformerError(f"y must have as many labels as there are texts, {len(first)}; got {len(y)}")
    return Texts(first, second, y, weights_of(sample_weight, len(first), "texts"))


def weights_of(sample_weight: Any, count: int, what: str) -> np.ndarray | None:
    """Weights of rows in any form as float32 (B,), or None for None.

    Args:
        sample_weight: The weights.
        count: B.
        what: Name of the rows in messages.

    Raises:
        TransformerError: They are not as many as the rows, or mean nothing.

    Example:
        >>> weights_of([1, 2], 2, "texts").tolist()
        [1.0, 2.0]
    """
    if sample_weight is None:
        return None
    weights = weight_values(sample_weight)
    if len(weights) != count:
        raise TransformerError(
            f"sample_weight must have as many numbers as there are {what}, {count}; got {len(weights)}"
        )
    check_weights(weights)
    return weights


# What is said of a weight that is none.
WEIGHT_RULE = "sample_weight must hold finite numbers of at least 0; got"


def weight_values(weights: Any) -> np.ndarray:
    """Weights in any form as float32 (B,).

    Raises:
        TransformerError: They are no numbers.
    """
    try:
        return np.asarray(weights, "float32").reshape(-1)
    except (TypeError, ValueError):
        raise TransformerError(f"{WEIGHT_RULE} {weights!r:.80}") from None


def check_weights(weights: np.ndarray | None) -> None:
    """Refuse weights (B,) of rows that mean nothing: negative or not finite ones, or zeros alone.

    Example:
        >>> check_weights(np.array([1.0, 0.0]))
    """
    if weights is None or not len(weights):
        return
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        raise TransformerError(f"{WEIGHT_RULE} {weights[wrong[0]]:g} in row {wrong[0]} (from 0)")
    if not weights.any():
        raise TransformerError("sample_weight must be above 0 in one row at least; got zeros alone")


def as_split(texts: Any, labels: Any, name: str = "train") -> Split:
    """A split from texts and labels in memory; labels that are lists or tuples make it multi-label.

    Raises:
        TransformerError: as `as_texts`, and for a row without a label.

    Example:
        >>> as_split(["a", "b"], [0, 1]).targets
        ['0', '1']
    """
    texts = as_texts(texts, labels)
    rows, targets = texts.rows, texts.targets
    if isinstance(targets, np.ndarray) and targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    numbers = isinstance(targets, np.ndarray) and targets.dtype.kind in "iufb"
    kinds = (list, tuple, set, frozenset, np.ndarray)
    several = targets is not None and not numbers and any(isinstance(target, kinds) for target in targets)
    return Split(rows, targets, name, several)


def _text(value, row: int) -> str:
    if isinstance(value, str):
        return well_formed(str(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    raise TransformerError(f"each text must be a string; got {type(value).__name__} in row {row} (from 0)")


def _sides(x) -> tuple[list[str], list[str] | None]:
    if is_table(x):
        x = _text_columns(x)
    if isinstance(x, dict):
        if "text" not in x or set(x) - {"text", "text_pair"}:
            raise TransformerError(f"x must have the keys text and, for pairs, text_pair; got {', '.join(x)}")
        x = (x["text"], x["text_pair"]) if "text_pair" in x else x["text"]
    if isinstance(x, (str, bytes)):
        x = [x]
    if isinstance(x, tuple) and len(x) == 2 and _are_sides(x):
        first, second = (_sides(side)[0] for side in x)
        if len(first) != len(second):
            raise TransformerError(
                f"both sides of the pairs must have equally many texts; got {len(first)} and {len(second)}"
            )
        return first, second
    values = as_column(x)
    if values is None:
        raise TransformerError(
            f"x must be texts: a Split, a list of strings or of pairs, or a tf.data.Dataset; got {x!r}"
        )
    if isinstance(values, np.ndarray) and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    pairs = [not isinstance(v, (str, bytes)) and hasattr(v, "__len__") and len(v) == 2 for v in values]
    if len(pairs) and all(pairs):
        return ([_text(v[0], row) for row, v in enumerate(values)], [_text(v[1], row) for row, v in enumerate(values)])
    return [_text(v, row) for row, v in enumerate(values)], None


def _are_sides(x: tuple) -> bool:
    """Return whether `x` is two columns of texts; tuples in a tuple are rows, as they are in a list."""
    return not any(isinstance(s, (str, bytes)) for s in x) and not all(isinstance(s, tuple) for s in x)


def _text_columns(table) -> dict[str, Any]:
    """The text columns of a table under the names that a dict has."""
    columns = columns_of(table)
    if "text" in columns:
        return {name: columns[name] for name in ("text", "text_pair") if name in columns}
    if len(columns) == 1:
        return {"text": next(iter(columns.values()))}
    raise TransformerError(
        "x must be a table with the column text and, for pairs, text_pair, or with one column; got "
        f"{', '.join(list(columns)[:8]) or 'none'} (rename them, or pass one column)"
    )


def _from_dataset(dataset) -> tuple:
    """Texts, labels and weights of a finite tf.data.Dataset, batched or not."""
    if "Distributed" in type(dataset).__name__:
        raise TransformerError(
            f"x must be a tf.data.Dataset, not distributed yet, which fit does itself; got a {type(dataset).__name__}"
        )
    if int(dataset.cardinality()) == -1:
        raise TransformerError("x must be a finite tf.data.Dataset; it repeats without end, use take(n)")
    if is_batched(dataset):
        dataset = dataset.unbatch()
    rows, spec = list(dataset.as_numpy_iterator()), dataset.element_spec
    columns = [[row[i] for row in rows] for i in range(len(spec))] if isinstance(spec, tuple) else [rows]
    x, y, weights = [*columns, None, None][:3]
    if x and isinstance(x[0], dict):
        x = {key: [row[key] for row in x] for key in x[0]}
    if y and all(isinstance(row, np.ndarray) and row.dtype.kind in "iufb" for row in y):
        y = np.stack(y) if len({row.shape for row in y}) == 1 else y
    return x, y, weights


def is_batched(dataset: Any) -> bool:
    """Return whether a tf.data.Dataset of (text, …) yields batches: its texts then have rank 1.

    A pair is a tuple of two scalars or a dict; one tensor of shape (2,) looks like a batch of two
    texts and counts as a batch.
    """
    spec = dataset.element_spec
    spec = spec[0] if isinstance(spec, tuple) else spec
    while isinstance(spec, (tuple, dict)):
        spec = next(iter(spec.values())) if isinstance(spec, dict) else spec[0]
    return spec.shape.rank is None or spec.shape.rank >= 1
