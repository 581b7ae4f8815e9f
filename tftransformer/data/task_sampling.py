"""Batches of several tasks in one epoch, drawn in proportion to a power of their sizes.

Stickland & Murray 2019, "BERT and PALs" (arXiv:1902.02671). Rules of an epoch:

- It has as many batches as one pass over the rows of all tasks would take, each task in batches of its own.
- Every task has a fixed fraction of them, at least one batch. Only their order is drawn, so that chance cannot leave a
  small task out of an epoch.
- A task goes through its rows in passes of its own, shuffled anew for each. One that is drawn more often than its size
  begins the next pass within the epoch; one that is drawn less often goes on in the next epoch where it
  stopped. No row is seen twice before every row of its task was seen.

The batches of an epoch depend on the seed and the number of the epoch alone, so that a run can be resumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from tftransformer.data.batch_blocks import Plan, planned_dataset
from tftransformer.data.buckets import bucket_of
from tftransformer.data.examples import Examples, joined, num_batches
from tftransformer.data.fields import Values
from tftransformer.data.pipeline import Epoch, epoch_numbers, in_order, plan_epoch
from tftransformer.errors import TransformerError, near_miss

if TYPE_CHECKING:
    import tensorflow as tf

DEFAULT_SAMPLING = "proportional:0.75"


@dataclass(frozen=True)
class TaskExamples(Examples):
    """The rows of several tasks one after another.

    `targets` is float32 (B, 1 + W): the number of the task, then its target, a label id or one column for each
    label; W is the widest task's.

    Args:
        sizes: Rows of each task, in the order of the tasks.
    """

    sizes: tuple[int, ...] = ()

    def num_batches(self, batch_size: int, copies: int = 1) -> int:
        """As one pass over the rows of all tasks takes, each task in batches of its own."""
        return sum(num_batches(size * copies, batch_size) for size in self.sizes)

    def first(self, count: int) -> TaskExamples:
        """The first rows of each task, as many or all."""
        ends = np.cumsum(self.sizes)
        sizes = tuple(min(size, count) for size in self.sizes)
        starts = [end - size for end, size in zip(ends, self.sizes, strict=True)]
        rows = [start + np.arange(size) for start, size in zip(starts, sizes, strict=True)]
        return _with_sizes(self.take(np.concatenate(rows)), sizes)

    def keep(self, weights: np.ndarray | None) -> TaskExamples:
        """The rows whose weight (B,) is not 0; all for None."""
        if weights is None or weights.all():
            return self
        sizes = [int(np.count_nonzero(part)) for part in np.split(weights, np.cumsum(self.sizes)[:-1])]
        return _with_sizes(self.take(np.flatnonzero(weights)), tuple(sizes))


def _with_sizes(examples: Examples, sizes: tuple[int, ...]) -> TaskExamples:
    columns = {field.name: getattr(examples, field.name) for field in fields(examples)}
    return TaskExamples(**columns, sizes=sizes)


def join_tasks(parts: Mapping[int, Examples], width: int) -> TaskExamples:
    """Put the rows of several tasks one after another.

    Args:
        parts: Examples by the number of their task, each with targets `Values`, int32 (B,) or float32 (B, C).
        width: W, at least 1 and at least every C.

    Returns:
        The rows in the order of `parts`. Where some have weights, those of the others weigh 1.

    Example:
        >>> tokens = Tokens(np.array([5, 6, 7]), np.array([0, 2, 3]), np.array([2, 1]), np.array([2, 1]))
        >>> one = Examples({"text": tokens}, Values(np.array([1, 0])))
        >>> join_tasks({0: one, 3: one}, width=1).targets.values.tolist()
        [[0.0, 1.0], [0.0, 0.0], [3.0, 1.0], [3.0, 0.0]]
    """
    weighted = any(part.weights is not None for part in parts.values())
    rows = []
    for number, part in parts.items():
        values = part.targets.values
        own = values if values.ndim == 2 else values[:, None]
        targets = np.zeros((len(part), 1 + width), "float32")
        targets[:, 0], targets[:, 1 : 1 + own.shape[1]] = number, own
        weights = np.ones(len(part), "float32") if weighted and part.weights is None else part.weights
        rows.append(replace(part, targets=Values(targets), weights=weights))
    return _with_sizes(joined(rows), tuple(len(part) for part in rows))


def batch_fractions(sampling: str | Mapping[str, float], batches: Mapping[str, int]) -> dict[str, float]:
    """The fraction of an epoch's batches that each task has.

    Args:
        sampling: Rule: "proportional:0.75", to the 0.75th power of the size ("proportional" alone is that, too;
            "proportional:1" is one pass over everything); "equal"; or a weight for each task.
        batches: Batches in one pass over each task.

    Returns:
        Fractions by task, which sum to 1.

    Raises:
        TransformerError: An unknown name, an exponent or a weight out of range, or weights for other tasks.

    Example:
        >>> batch_fractions("proportional:0.5", {"large": 900, "small": 100})
        {'large': 0.75, 'small': 0.25}
    """
    sizes = _weights(sampling, batches) if isinstance(sampling, Mapping) else _powers(sampling, batches)
    total = sum(sizes.values())
    return {task: size / total for task, size in sizes.items()}


def _powers(sampling: str, batches: Mapping[str, int]) -> dict[str, float]:
    name, colon, number = str(sampling).partition(":")
    if name == "equal" and not colon:
        return dict.fromkeys(batches, 1.0)
    if name != "proportional":
        known = (DEFAULT_SAMPLING, "equal")
        raise TransformerError(
            f"sampling must be {DEFAULT_SAMPLING!r} or another power, 'equal' or a weight for each task; got "
            f"{sampling!r}{near_miss(name, known)}"
        )
    try:
        power = float(number) if colon else 0.75
    except ValueError:
        power = math.nan
    if not 0 <= power <= 1:
        raise TransformerError(f"sampling: proportional takes a power from 0 to 1; got {sampling!r}")
    return {task: count**power for task, count in batches.items()}


def _weights(sampling: Mapping[str, float], batches: Mapping[str, int]) -> dict[str, float]:
    for task in sampling:
        if task not in batches:
            raise TransformerError(
                f"sampling must weigh the tasks {', '.join(batches)}; got {task!r}{near_miss(task, batches)}"
            )
    for task in batches:
        weight = sampling.get(task)
        number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not number or not math.isfinite(weight) or weight <= 0:
            raise TransformerError(f"sampling must have a positive weight for every task; {task!r} has {weight!r}")
    return {task: float(sampling[task]) for task in batches}


def epoch_batches(fractions: Sequence[float], total: int) -> list[int]:
    """Whole numbers of batches by largest remainders, at least one for each fraction.

    Args:
        fractions: Fractions that sum to 1.
        total: Batches to hand out, no fewer than there are fractions.

    Example:
        >>> epoch_batches([0.7, 0.29, 0.01], 10)
        [7, 2, 1]
    """
    ideal = np.asarray(fractions) * total
    # Rounding first: 0.3 * 10 is less than 3.
    counts = np.maximum(np.floor(np.round(ideal, 9)), 1).astype(int)
    while counts.sum() != total:
        missing = ideal - counts
        if counts.sum() < total:
            counts[np.argmax(missing)] += 1
        else:
            counts[np.argmin(np.where(counts > 1, missing, np.inf))] -= 1
    return counts.tolist()


def plan_tasks(
    lengths: Sequence[np.ndarray],
    batch_size: int,
    counts: Sequence[int],
    number: int,
    *,
    boundaries: Sequence[int] | None = None,
    shuffle: bool = True,
    seed: int = 0,
) -> Plan:
    """Rows and padded length of each batch of one epoch.

    Args:
        lengths: Tokens of the rows of each task.
        batch_size: Rows a batch.
        counts: Batches of each task, from `epoch_batches`.
        number: Number of the epoch, from 0.
        boundaries, shuffle, seed: Arguments of `task_batches`.

    Returns:
        Pairs (row indices, padded length); rows are counted through all tasks.
    """

    def one_pass(lengths: np.ndarray, turn: int) -> Plan:
        if not shuffle:
            return in_order(np.arange(len(lengths)), lengths, batch_size, boundaries)
        return plan_epoch(lengths, batch_size, boundaries, np.random.default_rng([seed, turn]))

    own, start = [], 0
    for task, count in zip(lengths, counts, strict=True):
        # Seen as one sequence of passes, the task goes on where the epoch before has stopped.
        size = num_batches(len(task), batch_size)
        first, stop = number * count, (number + 1) * count
        batches: Plan = []
        for turn in range(first // size, (stop - 1) // size + 1):
            batches.extend(one_pass(task, turn)[max(first - turn * size, 0) : stop - turn * size])
        own.append(iter([(rows + start, length) for rows, length in batches]))
        start += len(task)
    order = np.random.default_rng([seed, number, 1]).permutation(np.repeat(np.arange(len(own)), counts))
    return [next(own[task]) for task in order]


def task_batches(
    examples: TaskExamples,
    batch_size: int,
    fractions: Sequence[float],
    *,
    boundaries: Sequence[int] | None = None,
    shuffle: bool = True,
    seed: int = 0,
    epoch: Epoch | None = None,
) -> tf.data.Dataset:
    """Batches for `fit`, each with the rows of one task; the module's docstring says what an epoch is.

    Args:
        examples: Examples from `join_tasks`.
        batch_size: Rows a batch.
        fractions: Fraction of the batches for each task, from `batch_fractions`.
        boundaries, seed, epoch: Padded lengths, random seed and `Epoch`, as in `data.pipeline.token_batches`.
        shuffle: False keeps the order of the rows within each task; the order of the tasks is drawn all the same.

    Returns:
        `tf.data.Dataset` of (x, y) or (x, y, weight) of known cardinality, y as in `TaskExamples`. With one task it is
        the dataset of `token_batches`, row by row.

    Raises:
        TransformerError: if a task has no examples, batch_size is below 1, or the boundaries too short.
    """
    if not (examples.sizes and all(examples.sizes)):
        raise TransformerError("there are no examples to make batches of")
    if boundaries is not None:
        bucket_of(examples.lengths, boundaries)
    counts = epoch_batches(fractions, examples.num_batches(batch_size))
    lengths = np.split(examples.lengths, np.cumsum(examples.sizes)[:-1])
    number = epoch_numbers(epoch)

    def plan() -> Plan:
        return plan_tasks(lengths, batch_size, counts, number(), boundaries=boundaries, shuffle=shuffle, seed=seed)

    equal = all(size % batch_size == 0 for size in examples.sizes)
    return planned_dataset(plan, examples, sum(counts), batch_size if equal else None)
