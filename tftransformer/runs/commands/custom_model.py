"""Put a checkpoint into a structure of your own, and fine-tune, evaluate, save and export it."""

from tftransformer.runs.flags import OptionFlags
from tftransformer.runs.options import CustomOptions
from tftransformer.runs.run_folder import check_free

FLAGS = OptionFlags(
    CustomOptions,
    without=("init_from", "add_labels"),
    max_length="Longest text in tokens; default: the model's limit.",
    overwrite="Replace what --model_dir and --output_dir hold.",
)
define_flags = FLAGS.define


def read_flags() -> CustomOptions:
    """The options of the run."""
    options = FLAGS.read()
    check_free(options.output_dir, options.overwrite)
    return options


def run(options: CustomOptions) -> None:
    """Adapt, train, and report."""
    from tftransformer.runs import custom

    custom.train(options)
