"""Weights told apart by patterns where only their paths are known: an optimizer sees no addresses."""

import re
from collections.abc import Sequence

from tftransformer.errors import TransformerError, near_miss


def matching(pattern: str, paths: Sequence[str], argument: str) -> set[int]:
    """The places of those paths of which a pattern matches a tail from end to end.

    Raises:
        TransformerError: The pattern is malformed.

    Example:
        >>> matching("head/.*", ["task/encoder/kernel", "task/head/kernel"], "patterns")
        {1}
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise TransformerError(f"{argument}: {pattern!r} is not a regular expression: {error}") from None
    return {i for i, path in enumerate(paths) if any(expression.fullmatch(tail) for tail in _tails(path))}


def _tails(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def check_pattern(pattern: str, paths: Sequence[str], argument: str) -> None:
    """Raise a `TransformerError` unless a pattern matches one of the paths."""
    if not matching(pattern, paths, argument):
        raise TransformerError(
            f"{argument}: {pattern!r} matches none of the {len(paths)} trained weights{near_miss(pattern, paths)}"
        )
