"""Pretrain an encoder on plain text, by masked-LM or by distillation from a larger open encoder, to a preset.

`prepare --texts=... --output_dir=SHARDS` turns texts into integers, once; `train --shards=SHARDS --output_dir=PRESET`
reads only those, with KERAS_BACKEND=tensorflow or jax (there without TensorFlow).
"""

import dataclasses
from typing import Any

from absl import flags

from tftransformer.errors import TransformerError, near_miss
from tftransformer.runs.flags import OptionFlags, option
from tftransformer.runs.pretraining_options import PretrainingOptions, TextOptions

STEPS = ("prepare", "train")
# The flag that the word behind the command is the value of.
WORDS = "step"


@dataclasses.dataclass(frozen=True)
class StepOptions:
    """Which of the two steps."""

    step: str | None = option(None, "prepare or train; --step= may be left out.")


_BOTH = ("output_dir", "overwrite", "teacher", "preset", "seed")
STEP, TRAIN = OptionFlags(StepOptions), OptionFlags(PretrainingOptions)
PREPARE = OptionFlags(TextOptions, without=_BOTH)
FLAGS = (STEP, PREPARE, TRAIN)


def read_flags() -> tuple[TextOptions | PretrainingOptions]:
    """The options of the step."""
    step = STEP.read().step or ""
    if step not in STEPS:
        raise TransformerError(
            f"say what to do: pretrain prepare --texts=... or pretrain train --shards=...; got {step!r}"
            f"{near_miss(step, STEPS)}"
        )
    for name in ("texts" if step == "prepare" else "shards", "output_dir"):
        if not flags.FLAGS[name].value:
            raise TransformerError(f"--{name} is missing; --help lists the flags")
    if step == "train":
        return (TRAIN.read(),)
    return (PREPARE.read(**{name: flags.FLAGS[name].value for name in _BOTH}),)


def run(options: Any) -> None:
    """Write the shards, or train on them."""
    from tftransformer.runs import pretraining

    if isinstance(options, TextOptions):
        pretraining.prepare_shards(options)
    else:
        pretraining.pretrain(options)
