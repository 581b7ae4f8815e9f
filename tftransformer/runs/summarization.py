"""One run from texts with summaries to a scored, saved and exported summarizer, as the command `summarize` runs it."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tftransformer.data.parallel import SHORTER, check_pairs, load_pairs
from tftransformer.data.split import Split, Splits
from tftransformer.evaluation.summarization import (
    Rouge,
    SummaryReport,
    best_for_all,
    best_sentences,
    choose_lead,
    lead,
    sentence_splitter,
    summary_report,
)
from tftransformer.evaluation.written import WrittenReport
from tftransformer.progress import say
from tftransformer.runs import text_pairs
from tftransformer.runs.summarization_options import SummarizationOptions
from tftransformer.runs.text_pairs import PairRun

# Validation texts by which the number of sentences of the lead is chosen; and training summaries of which one is to stand
# for all, with validation texts that say which.
_CHOSEN_ON, _CANDIDATES, _JUDGES = 300, 100, 100
ORACLE = "best sentence (oracle)"


def train(options: SummarizationOptions) -> WrittenReport:
    """`text_pairs.train` for summaries."""
    return text_pairs.train(SUMMARIZATION, options)


def summarize(run: str | Path, texts: Sequence[str], output: str | None = None) -> list[str]:
    """`text_pairs.write` for summaries."""
    return text_pairs.write(SUMMARIZATION, run, texts, output)


def read_splits(options: SummarizationOptions) -> Splits:
    """The pairs that a run trains, validates and tests on."""
    return text_pairs.read_splits(SUMMARIZATION, options)


def _load(options: SummarizationOptions) -> Splits:
    fractions = {name: getattr(options, name) for name in ("validation_fraction", "test_fraction")}
    return load_pairs(options.dataset, options.source_column, options.target_column, seed=options.seed, **fractions)


def _baselines(splits: Splits) -> dict[str, list[str]]:
    say("the baselines: beginnings of the texts, one summary for all, and the best sentence of each …")
    split = functools.lru_cache(None)(sentence_splitter([source for source, _ in splits.train.texts]))
    chosen = splits.validation.take(range(min(_CHOSEN_ON, len(splits.validation))))
    summaries = [target for _, target in splits.train.texts]
    some = [summaries[row] for row in np.linspace(0, len(summaries) - 1, min(_CANDIDATES, len(summaries))).astype(int)]
    one = best_for_all(some, chosen.all_references()[:_JUDGES])
    count, _ = choose_lead([source for source, _ in chosen.texts], chosen.all_references(), split)
    words = round(float(np.median([len(summary.split()) for summary in summaries])))
    say(
        f"of validation the first {count} of 1 to 3 sentences score best; the median training summary has {words} words"
    )
    sources = [source for source, _ in splits.test.texts]
    return {
        f"lead: {count} sentence{'s' if count > 1 else ''}": [lead(text, count, split) for text in sources],
        f"lead: {words} words": [" ".join(text.split()[:words]) for text in sources],
        "one summary for all": [one] * len(sources),
        ORACLE: best_sentences(sources, splits.test.all_references(), split),
    }


def _score(systems: Mapping[str, Sequence[str]], split: Split, name: str) -> SummaryReport:
    return summary_report(systems, split.all_references(), name)


SUMMARIZATION = PairRun(
    options=SummarizationOptions,
    load=_load,
    check=functools.partial(check_pairs, rule=SHORTER),
    baselines=_baselines,
    ready=Rouge,
    score=_score,
    doing="summarizing",
    written="summaries_path",
    best_epoch=True,
)
