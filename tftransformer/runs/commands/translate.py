"""Train a translator from nothing on pairs of sentences, score, save and export it; translate with a finished run.

--dataset names the pairs, --source and --target their sides; --mode=translate takes --model, the folder of a finished run,
and --init_from goes on with one on other pairs.
"""

import dataclasses
from typing import Any

from tftransformer.runs.commands import pairs
from tftransformer.runs.flags import OptionFlags, option
from tftransformer.runs.translation_options import TranslationOptions


@dataclasses.dataclass(frozen=True)
class ModeOptions(pairs.WritingOptions):
    """Mode of the command, and the texts for a finished run to translate."""

    mode: str = option("train", "What to do.", choices=("train", "translate"))


MODE, RUN = OptionFlags(ModeOptions), OptionFlags(TranslationOptions)
FLAGS = (MODE, RUN)


def read_flags() -> tuple[ModeOptions, Any]:
    """Return the mode and its input: options to train, or texts."""
    return pairs.read_flags(MODE, RUN, TranslationOptions)


def run(mode: ModeOptions, what: Any) -> None:
    """Train or translate."""
    from tftransformer.runs import translation

    if mode.mode == "translate":
        translation.translate(mode.model, what, mode.output)
    else:
        translation.train(what)
