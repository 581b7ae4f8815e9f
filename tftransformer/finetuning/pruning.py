"""Prune attention heads and really remove their weights (Michel et al. 2019, arXiv 1905.10650)."""

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tftransformer.config import POSITIONS, TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.finetuning.rebuilding import check_task, rebuild
from tftransformer.finetuning.schedules import check_number
from tftransformer.models.task import AnyTask

# Inside a block's attention: which axis of a weight counts the heads, and whether each has one entry there or H.
_HEAD_AXES = (
    (re.compile(r"(query|key|value)/(kernel|bias|lora/up)"), -1, True),
    (re.compile(r"output/(kernel|lora/down)"), 0, True),
    (re.compile(r"prefix/(keys|values)"), 0, False),
)
_ATTENTION = re.compile(r"encoder_block_(\d+)/attention/(.*)")


def prune_heads(
    task: AnyTask,
    heads: Mapping[int, Iterable[int]] | None = None,
    *,
    fraction: float | None = None,
    scores: Mapping[int, Sequence[float]] | None = None,
) -> AnyTask:
    """A smaller task without some heads: the columns of their queries, keys and values and their rows of the output go.

    The heads that stay compute what they did. Their width stays, too, so that a block of fewer heads is one of
    narrower projections.

    Args:
        task: A built task, such as a `TextClassifier`; it stays as it is.
        heads: Numbers of the heads to remove, by the number of their block: {0: [1, 3], 4: [0]}. Where
            layers share a block (ALBERT), they all lose them.
        fraction: Fraction of all heads to remove instead: those with the lowest scores, at least one left to each
            block.
        scores: Scores of `head_importance`; for `fraction`.

    Returns:
        A new task, not compiled, that saves, exports and trains like any other. Its `config.num_heads` is a tuple
        where blocks have unlike numbers of heads.

    Raises:
        TransformerError: Neither heads nor a fraction, or both; a block or head that there is not; a block that would
            lose all heads; heads that share keys and values or a position bias with others.

    Example:
        >>> small = prune_heads(classifier, {0: [1, 3], 4: [0]})  # doctest: +SKIP
        >>> small.config.num_heads  # doctest: +SKIP
        (10, 12, 12, 12, 11, 12)
        >>> small = prune_heads(classifier, fraction=0.3, scores=head_importance(classifier, train))  # doctest: +SKIP
    """
    check_task(task)
    config = task.config
    _check_kind(config)
    if (heads is None) == (fraction is None) or (fraction is None) != (scores is None):
        raise TransformerError(
            "prune_heads takes either heads, by block, or fraction with scores of head_importance; got "
            f"heads={heads!r:.80}, fraction={fraction!r}, {'no scores' if scores is None else 'scores'}"
        )
    if heads is None:
        _check_scores(config, scores)
        heads = choose_heads(scores, fraction)
    kept = _kept(config, heads)
    counts = tuple(len(numbers) for numbers in kept)
    smaller = config.replace(num_heads=counts, num_key_value_heads=counts)

    def without_heads(name: str, value: np.ndarray) -> np.ndarray:
        found = _ATTENTION.fullmatch(name)
        if found is None:
            return value
        return _keep_heads(found[2], value, kept[int(found[1])], config.head_dim)

    return rebuild(task, smaller, range(config.num_blocks), without_heads)


def choose_heads(scores: Mapping[int, Sequence[float]], fraction: float) -> dict[int, list[int]]:
    """The heads with the lowest scores, of all blocks together; the best one of each block always stays.

    Args:
        scores: Scores of `head_importance`: (N,) for each block.
        fraction: Fraction of all heads, rounded down to whole ones.

    Returns:
        The numbers of the heads by block, as `prune_heads` takes them.

    Raises:
        TransformerError: The fraction is not between 0 and 1, or more than leaves each block a head; scores are not
            finite numbers by block.

    Example:
        >>> choose_heads({0: [0.9, 0.1, 0.5], 1: [0.2, 0.3, 0.8]}, fraction=0.5)
        {0: [1], 1: [0, 1]}
    """
    fraction = check_number("fraction", fraction, "at least 0 and below 1", lambda value: 0 <= value < 1)
    rows = _as_rows(scores)
    total = sum(map(len, rows.values()))
    # What is meant to be a whole number of heads, 0.3 of 10, may be a hair less in binary.
    count = int(fraction * total + 1e-9)
    if count > total - len(rows):
        raise TransformerError(
            f"fraction must leave each of {len(rows)} blocks a head, so be at most "
            f"{1 - len(rows) / total:.3g} of the {total} heads; got {fraction!r}"
        )
    order = sorted(
        (score, block, head) for block, row in rows.items() for head, score in enumerate(row) if head != row.argmax()
    )
    chosen: dict[int, list[int]] = {}
    for _, block, head in sorted(order[:count], key=lambda place: place[1:]):
        chosen.setdefault(block, []).append(head)
    return chosen


def _keep_heads(part: str, value: np.ndarray, kept: Sequence[int], head_dim: int) -> np.ndarray:
    """One weight of an attention, by its name in it, with the entries of these heads alone."""
    for pattern, axis, wide in _HEAD_AXES:
        if pattern.fullmatch(part):
            width = head_dim if wide else 1
            places = (np.asarray(kept)[:, np.newaxis] * width + np.arange(width)).reshape(-1)
            return np.take(value, places, axis)
    return value


def _kept(config: TransformerConfig, heads: Mapping[int, Iterable[int]]) -> list[list[int]]:
    """The heads that stay, of each block."""
    if not isinstance(heads, Mapping):
        raise TransformerError(f"heads must be a dict from blocks to heads, as {{0: [1, 3]}}; got {heads!r:.80}")
    removed = {_whole(block, "blocks"): numbers for block, numbers in heads.items()}
    wrong = [block for block in removed if not 0 <= block < config.num_blocks]
    if wrong:
        raise TransformerError(f"heads must be of blocks between 0 and {config.num_blocks - 1}; got block {wrong[0]}")
    kept = []
    for block in range(config.num_blocks):
        available = config.heads_of_block(block)[0]
        numbers = removed.get(block, ())
        if isinstance(numbers, str) or not isinstance(numbers, Iterable):
            raise TransformerError(f"heads of block {block} must be a list of numbers; got {numbers!r}")
        gone = {_whole(number, f"heads of block {block}") for number in numbers}
        if outside := sorted(number for number in gone if not 0 <= number < available):
            raise TransformerError(f"heads of block {block} must be between 0 and {available - 1}; got {outside[0]}")
        if len(gone) == available:
            raise TransformerError(
                f"heads must leave each block one at least; block {block} has {available} and would lose them all"
            )
        kept.append([number for number in range(available) if number not in gone])
    return kept


def _whole(number: Any, what: str) -> int:
    try:
        return operator.index(number)
    except TypeError:
        raise TransformerError(f"{what} must be whole numbers; got {number!r}") from None


def _check_kind(config: TransformerConfig) -> None:
    if config.num_key_value_heads != config.num_heads:
        raise TransformerError(
            "heads must have keys and values of their own to be pruned; the model has "
            f"{config.num_heads} heads with {config.num_key_value_heads} of keys and values"
        )
    if POSITIONS[config.position].enters == "scores":
        raise TransformerError(
            f"heads must not share a bias over the blocks to be pruned; the model has {config.position!r} positions"
        )


def _check_scores(config: TransformerConfig, scores: Any) -> None:
    wanted = {block: config.heads_of_block(block)[0] for block in range(config.num_blocks)}
    found = {block: len(row) for block, row in _as_rows(scores).items()}
    if found != wanted:
        raise TransformerError(
            f"scores must be of head_importance for this model, a number for each head of each block; got {found!r:.80}"
        )


def _as_rows(scores: Any) -> dict[int, np.ndarray]:
    """The scores of each block as an array (N,)."""
    if not isinstance(scores, Mapping):
        raise TransformerError(f"scores must be a dict, as head_importance returns it; got {scores!r:.80}")
    rows = {}
    for block, row in scores.items():
        try:
            rows[block] = np.asarray(row, "float64")
        except (TypeError, ValueError):
            rows[block] = np.empty(0)
        if rows[block].ndim != 1 or not rows[block].size or not np.isfinite(rows[block]).all():
            raise TransformerError(f"scores of block {block} must be finite numbers; got {row!r:.80}")
    return rows
