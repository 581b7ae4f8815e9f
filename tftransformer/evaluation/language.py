"""Comparison of language models: perplexity, also by units that do not depend on the vocabulary."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tftransformer.errors import TransformerError


def by_units(log_probability: float, tokens: int, texts: Sequence[str]) -> dict[str, float]:
    """Return the perplexities per token, word and byte that follow from one sum of log-probabilities.

    Args:
        log_probability: Sum of the natural logarithms of the probabilities of all tokens, ends of texts among them.
        tokens: Number of these.
        texts: Texts of these tokens.

    Returns:
        `token`: the perplexity of a token; `word`: of a string between spaces, and `byte`: of a byte of UTF-8, to which
        the tokens of ends are counted, too.

    Example:
        >>> {unit: round(value, 3) for unit, value in by_units(-8.0, 4, ["go on"]).items()}
        {'token': 7.389, 'word': 54.598, 'byte': 4.953}
    """
    words, size = sum(len(text.split()) for text in texts), sum(len(text.encode()) for text in texts)
    counts = {"token": tokens, "word": words, "byte": size}
    return {unit: float(np.exp(-log_probability / max(count, 1))) for unit, count in counts.items()}


@dataclasses.dataclass(frozen=True)
class LanguageReport:
    """Perplexities of several systems on the same tokens; `print` it.

    Attributes:
        name: Name of the split.
        texts: Number of texts.
        tokens: Number of tokens that are foreseen.
        systems: By name the perplexities by unit, as `by_units` gives them.
    """

    name: str
    texts: int
    tokens: int
    systems: Mapping[str, Mapping[str, float]]

    def __post_init__(self) -> None:
        if not self.systems:
            raise TransformerError("systems must hold at least one system's perplexities; got none")

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        wide = max(map(len, self.systems)) + 3
        units = list(next(iter(self.systems.values())))
        lines = [f"{self.name.capitalize()}: {self.texts:,} texts, {self.tokens:,} tokens; perplexity of a", ""]
        lines.append(" " * wide + "".join(f"{unit:>12}" for unit in units))
        for system, found in self.systems.items():
            lines.append(f"{system:{wide}}" + "".join(f"{_short(found[unit]):>12}" for unit in units))
        return "\n".join(lines)


def _short(value: float) -> str:
    """A perplexity with digits enough to tell neighbours apart.

    Example:
        >>> _short(2.2504), _short(23.126), _short(4471.3)
        ('2.250', '23.13', '4,471')
    """
    return f"{value:.3f}" if value < 10 else f"{value:.2f}" if value < 100 else f"{value:,.0f}"
