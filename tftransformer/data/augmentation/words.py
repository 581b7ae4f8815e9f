"""Texts as words and the gaps between them, so that what is not touched comes back as it was."""

import re
from collections.abc import Sequence

import numpy as np

# Writing without spaces: each character counts as a word.
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_LETTERS = rf"[^\W{_IDEOGRAPHS}]+"
_WORD = re.compile(rf"(\d+(?:[.,]\d+)+|[{_IDEOGRAPHS}]|{_LETTERS}(?:['’-]{_LETTERS})*)")

# Words without a meaning of their own. WordNet knows some of them as chemical elements (in, as, he).
FUNCTION_WORDS = frozenset(
    """a about above after again against all also although am among an and any are as at be because been before being
    below between both but by can cannot could did do does doing done down during each either else ever few for from
    further had has have having he her here hers herself him himself his how i if in into is it its itself just may me
    might more most much must my myself neither no none nor not of off on once only or other others our ours ourselves
    out over own per same shall she should since so some such than that the their theirs them themselves then there
    these they this those though through thus to too toward under until up upon us very was we were what when where
    whether which while who whom whose why will with within without would yet you your yours yourself""".split()
)


def split_words(text: str) -> tuple[list[str], list[str]]:
    """The n words of a text and the n + 1 gaps before, between and after them.

    Chinese and Japanese characters are a word each; scripts without spaces beside these (Thai) stay in one piece.

    Example:
        >>> split_words("Don't, he said.")
        (["Don't", 'he', 'said'], ['', ', ', ' ', '.'])
    """
    pieces = _WORD.split(text)
    return pieces[1::2], pieces[0::2]


def join_words(words: Sequence[str], gaps: Sequence[str]) -> str:
    """The inverse of `split_words`.

    Example:
        >>> join_words(["so", "so"], ["", ", ", "!"])
        'so, so!'
    """
    pieces = [gaps[0]]
    for word, gap in zip(words, gaps[1:], strict=True):
        pieces += (word, gap)
    return "".join(pieces)


def gap_without(before: str, after: str) -> str:
    """Return the gap that stays when the word between two gaps is left out.

    Example:
        >>> gap_without(" ", ", "), gap_without(" ", " "), gap_without("", " ")
        (', ', ' ', '')
    """
    return before.rstrip() + after if before else after.lstrip()


def count_changes(words: int, fraction: float, draw: np.random.Generator) -> int:
    """`words * fraction` rounded up or down by chance, so that the mean is exact also for short texts."""
    return int(words * fraction + draw.random())


def in_case_of(word: str, model: str) -> str:
    """The word in capitals, or with one, where the model is written so.

    Example:
        >>> in_case_of("film", "Movie"), in_case_of("film", "MOVIE"), in_case_of("film", "movie")
        ('Film', 'FILM', 'film')
    """
    if len(model) > 1 and model.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if model[:1].isupper() else word
