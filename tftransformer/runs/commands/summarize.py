"""Train a summarizer on texts and their summaries, score, save and export it; summarize with a finished run.

--dataset names the pairs, --source_column and --target_column their sides; --preset and --init_from go on with a model that
is there. --mode=summarize takes --model, the folder of a finished run.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tftransformer.runs.commands import pairs
from tftransformer.runs.flags import OptionFlags, option
from tftransformer.runs.predictions import texts_to_predict
from tftransformer.runs.summarization_options import SummarizationOptions


@dataclasses.dataclass(frozen=True)
class ModeOptions(pairs.WritingOptions):
    """Mode of the command, and the texts for a finished run to summarize."""

    mode: str = option("train", "What to do.", choices=("train", "summarize"))


MODE, RUN = OptionFlags(ModeOptions), OptionFlags(SummarizationOptions)
FLAGS = (MODE, RUN)


def read_flags() -> tuple[ModeOptions, Any]:
    """Return the mode and its input: options to train, or texts."""
    return pairs.read_flags(MODE, RUN, SummarizationOptions, _texts, ("source_column",))


def _texts(given: Sequence[str], path: str | None, column: str | None) -> Sequence[str]:
    """Texts one by one, the lines of a .txt file, or a column of a table."""
    if given or path is None or Path(path).suffix.lower() == ".txt":
        return texts_to_predict(given, path)
    from tftransformer.data.parallel import load_sources

    return load_sources(path, column)


def run(mode: ModeOptions, what: Any) -> None:
    """Train or summarize."""
    from tftransformer.runs import summarization

    if mode.mode == "summarize":
        summarization.summarize(mode.model, what, mode.output)
    else:
        summarization.train(what)
