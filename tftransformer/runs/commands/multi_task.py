"""Train several tasks together on one encoder, and each alone, and see what it is worth."""

from tftransformer.runs.flags import OptionFlags
from tftransformer.runs.options import MultiTaskOptions
from tftransformer.runs.run_folder import check_free

FLAGS = OptionFlags(MultiTaskOptions)
define_flags = FLAGS.define


def read_flags() -> MultiTaskOptions:
    """The options of the run."""
    options = FLAGS.read()
    check_free(options.output_dir, options.overwrite)
    return options


def run(options: MultiTaskOptions) -> None:
    """Train together and alone, and compare."""
    from tftransformer.runs import multi_task

    multi_task.compare(options)
