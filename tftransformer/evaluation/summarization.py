"""Evaluation of summaries against human references: ROUGE by rouge-score, with intervals, and texts to compare with.

Lin 2004 (ROUGE: a package for automatic evaluation of summaries) counts words, pairs of words and longest common
subsequences of a summary and a reference; the figures here are F1. A model is compared with the beginnings of the texts
(lead), which are hard to beat where texts begin with what matters, and with the best sentence of each, chosen by its
references: the upper bound of any choice of one sentence. Sentences are found by nltk's Punkt (Kiss & Strunk 2006),
which needs no files.
"""

import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tftransformer.errors import TransformerError
from tftransformer.evaluation.intervals import LEVEL
from tftransformer.evaluation.written import Score, WrittenReport, as_several, check_systems, told_of

MEASURES = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL"}
# How the figures of several references become one: the best of each measure, as rouge-score and most papers have it; the
# measures of the reference with the best ROUGE-1, as the script of SciTLDR (Cachola et al. 2020) has them; and the mean.
BEST, OF_BEST, MEAN = "best reference", "reference of the best ROUGE-1", "mean over references"
_RESAMPLED, _SEED = 1000, 12345
# Texts from which Punkt learns abbreviations, and largest number of sentences that a lead may have.
_PUNKT_TEXTS, _MOST_SENTENCES = 500, 3


@dataclasses.dataclass(frozen=True)
class SummaryReport(WrittenReport):
    """ROUGE of a system beside those of others on the same texts; `print` it.

    Attributes:
        others: Where texts have several references: by another way to make one figure of theirs, by system and measure,
            the value. Those of `scores` are of the best reference of each measure.
    """

    others: Mapping[str, Mapping[str, Mapping[str, float]]] = dataclasses.field(default_factory=dict)

    def more(self) -> list[str]:
        wide = max(map(len, self.scores)) + 3
        lines = []
        for way, systems in self.others.items():
            lines += ["", f"{way[0].upper()}{way[1:]}:"]
            for system, found in systems.items():
                lines.append(f"{system:{wide}}" + "".join(f"{value:>20.1f}" for value in found.values()))
        return [*lines, ""] if lines else []


def summary_report(
    systems: Mapping[str, Sequence[str]],
    references: Sequence[str | Sequence[str]],
    name: str = "test",
    *,
    stemmer: bool = True,
) -> SummaryReport:
    """Score what systems wrote by ROUGE-1, ROUGE-2 and ROUGE-L, as percentages of F1.

    Args:
        systems: By name the B texts of each; the first is reported on, the others stand beside it.
        references: For each text that of a person, or several; one figure is that of the best of them.
        name: Name of the split.
        stemmer: Whether words lose their English endings before they are compared (Porter), as in most papers.

    Returns:
        Means over texts, with percentile bootstrap intervals, and p-values of the paired bootstrap (two-sided, of the
        resampled differences around their mean).

    Raises:
        TransformerError: Unlike numbers of texts, none, a text without a reference, or rouge-score is missing.

    Example:
        >>> report = summary_report({"this model": ["the cat sat"]}, [["a cat sat", "the cat sat"]])
        >>> round(report.scores["this model"]["ROUGE-L"].value), round(report.others["mean over references"]
        ...                                                             ["this model"]["ROUGE-1"])
        (100, 83)
    """
    check_systems(systems, references)
    several = as_several(references)
    rouge = Rouge(stemmer)
    found = {system: rouge(texts, several) for system, texts in systems.items()}
    best = np.stack([ways[BEST] for ways in found.values()])  # (systems, B, measures)
    draws = np.random.default_rng(_SEED).multinomial(
        len(several), np.full(len(several), 1 / len(several)), size=_RESAMPLED
    )
    means = np.einsum("rb,sbm->srm", draws / len(several), best)
    ends = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1)  # (2, systems, measures)
    scores = {
        system: {
            measure: Score(*(float(part[s, m]) for part in (best.mean(1), *ends)), rouge.signature(several))
            for m, measure in enumerate(MEASURES)
        }
        for s, system in enumerate(systems)
    }
    chance = _p_values(best.mean(1), means)
    p_values = {
        system: dict(zip(MEASURES, map(float, chance[s]), strict=True)) for s, system in enumerate(systems) if s
    }
    others = {
        way: {system: dict(zip(MEASURES, map(float, ways[way].mean(0)), strict=True)) for system, ways in found.items()}
        for way in (OF_BEST, MEAN)
        if any(len(texts) > 1 for texts in several)
    }
    told = told_of(next(iter(systems.values())), several)
    return SummaryReport(name, len(several), scores, p_values, **told, others=others)


def _p_values(values: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Probabilities (systems, measures) of differences from the first system, from resampled means (systems, R, measures)."""
    differences = means - means[:1]
    given = np.abs(values - values[:1])[:, None]
    spread = np.abs(differences - differences.mean(1, keepdims=True))
    # Equal texts differ by rounding at most.
    return (1 + (spread >= given - 1e-9).sum(1)) / (1 + means.shape[1])


class Rouge:
    """ROUGE-1, ROUGE-2 and ROUGE-L of texts, by rouge-score; it keeps the words of what it has seen.

    Args:
        stemmer: Whether words lose their English endings before they are compared.

    Raises:
        TransformerError: rouge-score is missing.

    Example:
        >>> Rouge()(["the cat sat"], [["the cat sat", "a dog"]])["best reference"]
        array([[100., 100., 100.]])
    """

    def __init__(self, stemmer: bool = True) -> None:
        try:
            from nltk.stem.porter import PorterStemmer
            from rouge_score.rouge_scorer import RougeScorer
            from rouge_score.tokenize import tokenize
        except ImportError:
            raise TransformerError("scores of summaries need rouge-score (pip install rouge-score)") from None
        self._stemmer = stemmer
        # Its default, but for what it stems again and again, which is most of the time.
        words = _Stemmer(functools.cache(PorterStemmer().stem)) if stemmer else None
        self.tokenize = functools.cache(lambda text: tokenize(text, words))
        self._scorer = RougeScorer(list(MEASURES.values()), tokenizer=self)
        self._words = RougeScorer(["rouge1"], tokenizer=self)

    def __call__(self, texts: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
        """By way of making one figure of several references the percentages (B, measures) of B texts."""
        rows: dict[str, list[np.ndarray]] = {way: [] for way in (BEST, OF_BEST, MEAN)}
        for text, several in zip(texts, references, strict=True):
            scores = [self._scorer.score(reference, text) for reference in several]
            found = 100 * np.array([[one[key].fmeasure for key in MEASURES.values()] for one in scores])
            rows[BEST].append(found.max(0))
            rows[OF_BEST].append(found[found[:, 0].argmax()])
            rows[MEAN].append(found.mean(0))
        return {way: np.stack(values) for way, values in rows.items()}

    def words(self, text: str, references: Sequence[str]) -> float:
        """ROUGE-1 of a text, of its best reference, as a fraction."""
        return max(self._words.score(reference, text)["rouge1"].fmeasure for reference in references)

    def signature(self, references: Sequence[Sequence[str]]) -> str:
        """Return the settings of the scores, for comparison with other results."""
        counts = {len(found) for found in references}
        return (
            f"refs:{counts.pop() if len(counts) == 1 else 'var'}|agg:best|f1|lower|words:a-z0-9|"
            f"stem:{'porter' if self._stemmer else 'no'}|bs:{_RESAMPLED}|seed:{_SEED}|"
            f"version:rouge-score {importlib.metadata.version('rouge-score')}"
        )


class _Stemmer(NamedTuple):
    stem: Callable[[str], str]


def sentence_splitter(texts: Sequence[str] = ()) -> Callable[[str], list[str]]:
    """A function from a text to its sentences: nltk's Punkt, with abbreviations that it learns from texts.

    Args:
        texts: Texts of the kind that is to be split; the first 500 are looked at. Without any, no abbreviation is known.

    Raises:
        TransformerError: nltk is missing, which comes with rouge-score.

    Example:
        >>> sentence_splitter()("A house burned. Nobody was hurt! The fire is out.")
        ['A house burned.', 'Nobody was hurt!', 'The fire is out.']
    """
    try:
        from nltk.tokenize.punkt import PunktSentenceTokenizer, PunktTrainer
    except ImportError:
        raise TransformerError(
            "sentences are found by nltk, which comes with rouge-score (pip install rouge-score)"
        ) from None
    trainer = PunktTrainer()
    if texts:
        trainer.train("\n\n".join(texts[:_PUNKT_TEXTS]), finalize=True)
    return PunktSentenceTokenizer(trainer.get_params()).tokenize


def lead(text: str, sentences: int, split: Callable[[str], list[str]]) -> str:
    """The first so many sentences of a text.

    Example:
        >>> lead("A house burned. Nobody was hurt. It is out.", 2, sentence_splitter())
        'A house burned. Nobody was hurt.'
    """
    return " ".join(split(text)[:sentences])


def choose_lead(
    sources: Sequence[str], references: Sequence[Sequence[str]], split: Callable[[str], list[str]]
) -> tuple[int, dict[int, float]]:
    """Choose the number of sentences of a lead, 1 to 3: the one with the best mean of the three measures.

    Args:
        sources: B texts, of the validation split.
        references: Summaries of each.
        split: As `sentence_splitter` makes it.

    Returns:
        The number, and the mean of the measures for each number.
    """
    rouge = Rouge()
    means = {
        count: float(rouge([lead(text, count, split) for text in sources], references)[BEST].mean())
        for count in range(1, _MOST_SENTENCES + 1)
    }
    return max(means, key=means.__getitem__), means


def best_for_all(summaries: Sequence[str], references: Sequence[Sequence[str]]) -> str:
    """The one of some summaries that has the best mean ROUGE-1 over all texts.

    Args:
        summaries: Candidates, such as some of the training summaries.
        references: Summaries of each of B texts, such as some of the validation split.

    Example:
        >>> best_for_all(["a dog", "we show a method"], [["we show a tree"], ["a method for dogs", "we show it"]])
        'we show a method'
    """
    rouge = Rouge()
    return max(summaries, key=lambda summary: sum(rouge.words(summary, several) for several in references))


def best_sentences(
    sources: Sequence[str], references: Sequence[Sequence[str]], split: Callable[[str], list[str]]
) -> list[str]:
    """Of each text the sentence with the best ROUGE-1, which its references say: an upper bound, not a system.

    Example:
        >>> best_sentences(["It is late. A house burned."], [["a house burned down"]], sentence_splitter())
        ['A house burned.']
    """
    rouge = Rouge()
    return [
        max(split(text) or [text], key=lambda sentence: rouge.words(sentence, several))
        for text, several in zip(sources, references, strict=True)
    ]
