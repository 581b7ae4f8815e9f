"""Train several tasks together on one encoder, and each alone, and see what it is worth."""

from tftransformer.runs.flags import OptionFlags
from tftransformer.runs.options import MultiTaskOptions

FLAGS = (OptionFlags(MultiTaskOptions),)


def run(options: MultiTaskOptions) -> None:
    """Train together and alone, and compare."""
    from tftransformer.runs import multi_task

    multi_task.compare(options)
