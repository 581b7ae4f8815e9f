"""Evaluation of written texts against human references: BLEU and chrF by sacrebleu, with intervals, and two baselines.

Post 2018 (arXiv 1804.08771) says why scores need a signature; Koehn 2004 resamples sentences for intervals and for
the comparison of two systems on the same ones.
"""

import itertools
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType

import numpy as np

from tftransformer.errors import TransformerError
from tftransformer.evaluation.written import Score, WrittenReport, as_several, check_systems, told_of

_RESAMPLED = 1000
# Of expectation and maximisation, behind which the likeliest words hardly change.
_ROUNDS = 5


class TranslationReport(WrittenReport):
    """BLEU and chrF2 of a system beside those of others on the same texts; `print` it."""


def load_sacrebleu() -> ModuleType:
    """The library that scores translations.

    Raises:
        TransformerError: It is missing.
    """
    try:
        import sacrebleu
        import sacrebleu.significance
    except ImportError:
        raise TransformerError("scores of translations need sacrebleu (pip install sacrebleu)") from None
    return sacrebleu


def translation_report(
    systems: Mapping[str, Sequence[str]], references: Sequence[str | Sequence[str]], name: str = "test"
) -> TranslationReport:
    """Score what systems wrote, by sacrebleu, with its paired bootstrap over texts.

    Args:
        systems: By name the B texts of each; the first is reported on, the others stand beside it.
        references: For each text that of a person, or several.
        name: Name of the split.

    Raises:
        TransformerError: Unlike numbers of texts, none, or sacrebleu is missing.

    Example:
        >>> report = translation_report({"this model": ["the cat sat"], "copy": ["le chat"]}, ["the cat sat"])
        >>> round(report.scores["this model"]["chrF2"].value)
        100
    """
    sacrebleu = load_sacrebleu()
    check_systems(systems, references)
    several = as_several(references)
    # sacrebleu wants the first ones, the second ones …, with None where a text has fewer.
    streams = [list(stream) for stream in itertools.zip_longest(*several)]
    logging.getLogger("sacrebleu").setLevel(logging.WARNING)
    test = sacrebleu.significance.PairedTest(
        [(system, list(texts)) for system, texts in systems.items()],
        {"bleu": sacrebleu.metrics.BLEU(), "chrf": sacrebleu.metrics.CHRF()},
        streams,
        test_type="bs",
        n_samples=_RESAMPLED,
    )
    signatures, found = test()
    scores: dict[str, dict[str, Score]] = {system: {} for system in systems}
    p_values: dict[str, dict[str, float]] = {system: {} for system in list(systems)[1:]}
    for measure, signature in signatures.items():
        for system, result in zip(systems, found[measure], strict=True):
            low, high = result.mean - result.ci, result.mean + result.ci
            scores[system][measure] = Score(float(result.score), float(low), float(high), str(signature))
            if system in p_values:
                p_values[system][measure] = float(result.p_value)
    return TranslationReport(name, len(several), scores, p_values, **told_of(next(iter(systems.values())), several))


class WordByWord:
    """A translator that knows words alone: for each the likeliest one by IBM's model 1 (Brown et al. 1993).

    A baseline for models of whole sentences. Words are the strings between spaces, without the punctuation at their
    ends and without case; a word that was never seen stays as it is.

    Args:
        pairs: Source and target texts to learn from.

    Example:
        >>> translator = WordByWord([("a house", "ein Haus"), ("a dog", "ein Hund"), ("the house", "das Haus")])
        >>> translator(["the dog."])
        ['das Hund.']
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        sources, targets = _Words(), _Words()
        texts = [(sources.ids(first), targets.ids(second)) for first, second in pairs]
        # Every pair of words that stand together somewhere, its place among the different ones, and its target's place.
        together = np.concatenate(
            [
                np.stack([np.repeat(first, len(second)), np.tile(second, len(first))])
                for first, second in texts
                if len(first) and len(second)
            ]
            or [np.zeros((2, 0), "int64")],
            axis=1,
        )
        ends = np.cumsum([0] + [len(second) for first, second in texts if len(first)])
        slots = np.concatenate(
            [
                np.tile(start + np.arange(len(second)), len(first))
                for start, (first, second) in zip(ends, [t for t in texts if len(t[0])])
            ]
            or [np.zeros(0, "int64")]
        )
        size = max(1, len(targets.known))
        different, index = np.unique(together[0] * size + together[1], return_inverse=True)
        owners = different // size
        probability = np.ones(len(different))
        for _ in range(_ROUNDS):
            values = probability[index]
            values = values / np.bincount(slots, values)[slots] if len(slots) else values
            counts = np.bincount(index, values, minlength=len(different))
            probability = counts / np.bincount(owners, counts)[owners] if len(different) else counts
        self._best: dict[str, str] = {}
        written = list(targets.known)
        spelled = targets.spelling()
        order = np.argsort(probability, kind="stable")
        words = list(sources.known)
        for place in order:  # the likeliest comes last and stays
            self._best[words[owners[place]]] = spelled[written[different[place] % size]]

    def __call__(self, texts: Iterable[str]) -> list[str]:
        return [" ".join(map(self._word, text.split())) for text in texts]

    def _word(self, word: str) -> str:
        core = word.strip(_MARKS)
        before, _, after = word.partition(core) if core else (word, "", "")
        return f"{before}{self._best.get(core.lower(), core)}{after}"


_MARKS = ".,;:!?\"'()[]«»„“”–-"


class _Words:
    """Numbers for words, by first appearance."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self._spellings: dict[str, Counter] = defaultdict(Counter)

    def ids(self, text: str) -> np.ndarray:
        cores = [core for word in text.split() if (core := word.strip(_MARKS))]
        for core in cores:
            self._spellings[core.lower()][core] += 1
        return np.array([self.known.setdefault(core.lower(), len(self.known)) for core in cores], "int64")

    def spelling(self) -> dict[str, str]:
        """Return the most frequent spelling of each word."""
        return {word: counts.most_common(1)[0][0] for word, counts in self._spellings.items()}
