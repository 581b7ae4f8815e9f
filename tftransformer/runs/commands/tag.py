"""Fine-tune, evaluate, save and export a model that tags words, such as names; predict with a finished run.

--dataset names the sentences, --preset the encoder; --mode=predict and --mode=evaluate take --model, the folder of a finished run.
"""

from typing import Any

from tftransformer.runs.commands import modes
from tftransformer.runs.flags import OptionFlags
from tftransformer.runs.tagging_options import TaggingOptions

MODE = OptionFlags(
    modes.ModeOptions,
    without=["text_pair"],
    output="predict: a JSONL file for texts and the places of entities, in place of the screen.",
    texts="predict: a file of texts, one a line (.txt), or a CSV, TSV or JSONL file with a column `text`.",
)
RUN = OptionFlags(
    TaggingOptions, overwrite="Replace a finished or different run in --output_dir, or the file of --output."
)
FLAGS = (MODE, RUN)


def read_flags() -> tuple[modes.ModeOptions, Any]:
    """Return the mode and its input, as `modes.read_flags`."""
    return modes.read_flags(MODE, RUN, TaggingOptions, ".jsonl")


def run(mode: modes.ModeOptions, what: Any) -> None:
    """Train, evaluate or predict."""
    from tftransformer.runs.tagging import TaggingRun

    modes.run(TaggingRun, mode, what)
