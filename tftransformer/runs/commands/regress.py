"""Fine-tune, evaluate, save and export a model that gives texts numbers; predict with a finished run.

--dataset names the texts, --preset the encoder; --mode=predict and --mode=evaluate take --model, the folder of a finished run.
"""

from typing import Any

from tftransformer.runs.commands import modes
from tftransformer.runs.flags import OptionFlags
from tftransformer.runs.regression_options import RegressionOptions

MODE = OptionFlags(
    modes.ModeOptions,
    output="predict: a CSV file for the numbers, in place of the screen.",
)
RUN = OptionFlags(
    RegressionOptions, overwrite="Replace a finished or different run in --output_dir, or the file of --output."
)
FLAGS = (MODE, RUN)


def read_flags() -> tuple[modes.ModeOptions, Any]:
    """Return the mode and its input, as `modes.read_flags`."""
    return modes.read_flags(MODE, RUN, RegressionOptions, ".csv")


def run(mode: modes.ModeOptions, what: Any) -> None:
    """Train, evaluate or predict."""
    from tftransformer.runs.regression import RegressionRun

    modes.run(RegressionRun, mode, what)
