"""Words that new texts use more than old ones (Monroe et al. 2008, "Fightin' words", Political Analysis 16)."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from sklearn.feature_extraction.text import CountVectorizer

from tftransformer.evaluation.baselines import TOKEN

# The chance that any word is called clear though nothing has changed.
_LEVEL = 0.05


@dataclass(frozen=True)
class Term:
    """A word and in how many texts it stands.

    Attributes:
        term: Lower-cased.
        new, old: Texts with it.
        score: Standard deviations by which its log-odds are above those in the old texts.
    """

    term: str
    new: int
    old: int
    score: float


def new_terms(
    old: Sequence[str | tuple[str, str]], new: Sequence[str | tuple[str, str]], most: int = 10
) -> list[Term]:
    """The words that stand in clearly more of the new texts, the clearest first.

    Texts are counted, not occurrences, so that no single text decides. A prior of one text for each word, shared by
    frequency, keeps rare words from looking like news; "clearly" takes account of how many words are looked at.

    Args:
        old, new: Texts, or pairs of texts.
        most: How many.

    Example:
        >>> old, new = ["the film was fine"] * 50, ["the phone was fine"] * 20
        >>> [term.term for term in new_terms(old, new)]
        ['phone']
    """
    counts = [_texts_with(texts) for texts in (old, new)]
    both = counts[0] + counts[1]
    totals = [sum(count.values()) for count in counts]
    scale = len(both) / max(sum(both.values()), 1)
    clear = NormalDist().inv_cdf(1 - _LEVEL / max(len(both), 1))
    found = []
    for term, everywhere in both.items():
        prior = everywhere * scale
        odds, variance = 0.0, 0.0
        for sign, count, total in ((-1, counts[0], totals[0]), (1, counts[1], totals[1])):
            there = count[term] + prior
            rest = total + len(both) - there
            odds += sign * math.log(there / max(rest, prior))
            variance += 1 / there
        score = odds / math.sqrt(variance)
        if score >= clear:
            found.append(Term(term, counts[1][term], counts[0][term], score))
    return sorted(found, key=lambda term: (-term.score, term.term))[:most]


def _texts_with(texts: Iterable[str | tuple[str, str]]) -> Counter:
    words = CountVectorizer(token_pattern=TOKEN).build_analyzer()
    joined = (text if isinstance(text, str) else " ".join(text) for text in texts)
    return Counter(word for text in joined for word in set(words(text)))
