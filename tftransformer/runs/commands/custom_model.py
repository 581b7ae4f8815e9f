"""Put a checkpoint into a structure of your own, and fine-tune, evaluate, save and export it."""

from tftransformer.runs.flags import OptionFlags
from tftransformer.runs.options import CustomOptions

RUN = OptionFlags(
    CustomOptions,
    without=("init_from", "add_labels"),
    sequence_length="Longest text in tokens; default: the model's limit.",
    overwrite="Replace what --model_dir and --output_dir hold.",
)
FLAGS = (RUN,)


def run(options: CustomOptions) -> None:
    """Adapt, train, and report."""
    from tftransformer.runs import custom

    custom.train(options)
