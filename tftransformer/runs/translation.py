"""One run from pairs of texts to a scored, saved and exported translator, as the command `translate` runs it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tftransformer.data.parallel import load_pairs
from tftransformer.data.split import Split, Splits
from tftransformer.evaluation.translation import TranslationReport, WordByWord, load_sacrebleu, translation_report
from tftransformer.evaluation.written import WrittenReport
from tftransformer.progress import say
from tftransformer.runs import text_pairs
from tftransformer.runs.text_pairs import PairRun
from tftransformer.runs.translation_options import TranslationOptions


def train(options: TranslationOptions) -> WrittenReport:
    """`text_pairs.train` for translations."""
    return text_pairs.train(TRANSLATION, options)


def translate(run: str | Path, texts: Sequence[str], output: str | None = None) -> list[str]:
    """`text_pairs.write` for translations."""
    return text_pairs.write(TRANSLATION, run, texts, output)


def read_splits(options: TranslationOptions) -> Splits:
    """The pairs that a run trains, validates and tests on."""
    return text_pairs.read_splits(TRANSLATION, options)


def _load(options: TranslationOptions) -> Splits:
    fractions = {name: getattr(options, name) for name in ("validation_fraction", "test_fraction")}
    return load_pairs(options.dataset, options.source, options.target, seed=options.seed, **fractions)


def _baselines(splits: Splits) -> dict[str, list[str]]:
    say("the word-by-word baseline, IBM's model 1 …")
    sources = [source for source, _ in splits.test.texts]
    return {"word by word": WordByWord(splits.train.texts)(sources), "copy of the source": sources}


def _score(systems: Mapping[str, Sequence[str]], split: Split, name: str) -> TranslationReport:
    return translation_report(systems, split.all_references(), name)


TRANSLATION = PairRun(
    options=TranslationOptions,
    load=_load,
    baselines=_baselines,
    ready=load_sacrebleu,
    score=_score,
    doing="translating",
    written="translations_path",
    pictures=3,
)
