"""Common parts of reports on written texts: scores of systems on the same texts, with intervals and paired tests."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tftransformer.errors import TransformerError


@dataclasses.dataclass(frozen=True)
class Score:
    """One figure of a system.

    Attributes:
        value: The score of all texts.
        low, high: Its 95 % interval, over resampled texts.
        signature: Settings of the computation, for comparison with other results.
    """

    value: float
    low: float
    high: float
    signature: str

    def __str__(self) -> str:
        return f"{self.value:.1f} ({self.low:.1f}-{self.high:.1f})"


@dataclasses.dataclass(frozen=True)
class WrittenReport:
    """Scores of a system beside those of others on the same texts; `print` it.

    Attributes:
        name: Name of the split.
        count: Number of texts.
        scores: By system and measure its `Score`; the first system is the one that is reported on.
        p_values: By other system and measure the probability of so large a difference from the first one by chance.
        length: Number of words that the first system wrote, as a fraction of those of the references (the first of each text).
        different: Number of different texts that it wrote: one for all is what little data may lead to, and figures hide.
    """

    name: str
    count: int
    scores: Mapping[str, Mapping[str, Score]]
    p_values: Mapping[str, Mapping[str, float]]
    length: float
    different: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        measures = list(next(iter(self.scores.values())))
        wide = max(map(len, self.scores)) + 3
        lines = [
            f"{self.name.capitalize()}: {self.count:,} texts, for which {self.different:,} different ones were written, of "
            f"{self.length:.2f} times the words of the references",
            "",
        ]
        lines.append(" " * wide + "".join(f"{measure:>20}" for measure in measures))
        for system, found in self.scores.items():
            lines.append(f"{system:{wide}}" + "".join(f"{found[measure]!s:>20}" for measure in measures))
        lines += ["", "In brackets: 95 % confidence intervals, over resampled texts."]
        for system, found in self.p_values.items():
            told = ", ".join(f"{measure} p = {p:.3f}" for measure, p in found.items())
            lines.append(f"Paired with {system}: {told}")
        lines += self.more()
        first = next(iter(self.scores.values()))
        lines += [f"{measure}: {score.signature}" for measure, score in first.items()]
        return "\n".join(lines)

    def more(self) -> list[str]:
        """Lines of a kind of reports, in front of the signatures."""
        return []


def check_systems(systems: Mapping[str, Sequence[str]], references: Sequence[Any]) -> None:
    """Raise a `TransformerError` unless every system wrote a text for each reference, of which there are some."""
    if not references:
        raise TransformerError("references must hold at least one text; got none")
    for system, texts in systems.items():
        if len(texts) != len(references):
            raise TransformerError(
                f"texts of {system} must be as many as references, {len(references)}; got {len(texts)}"
            )


def as_several(references: Sequence[str | Sequence[str]]) -> list[tuple[str, ...]]:
    """The references of each text, of which there may be one alone.

    Raises:
        TransformerError: A text has none.

    Example:
        >>> as_several(["a house", ("a dog", "the dog")])
        [('a house',), ('a dog', 'the dog')]
    """
    several = [(found,) if isinstance(found, str) else tuple(found) for found in references]
    if not all(several):
        raise TransformerError(f"references must hold a text for each row; row {several.index(())} (from 0) has none")
    return several


def told_of(texts: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The `length` and the number of `different` texts of a `WrittenReport`.

    Example:
        >>> told_of(["a house", "a house"], [("the house",), ("a big house", "it")])
        {'length': 0.8, 'different': 1}
    """
    written, known = (sum(len(text.split()) for text in part) for part in (texts, [found[0] for found in references]))
    return {"length": written / max(1, known), "different": len(set(texts))}
