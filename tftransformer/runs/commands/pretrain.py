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


STEP = OptionFlags(StepOptions)
TRAIN = OptionFlags(
    PretrainingOptions,
    output_dir="Folder of the shards (prepare) or of the preset (train).",
    overwrite="Replace what --output_dir holds.",
    teacher="Preset or folder of the teacher, an encoder of the BERT family.",
    preset="Preset or folder whose tokenizer to take (prepare), or to continue (train).",
    seed="Random seed of weights, order and masks.",
    # What to learn from.
    shards="Folder that `prepare` made.",
    objective="masked_lm, distillation, or both: masked texts for the student, whole ones for the teacher.",
    inherit="Start from the teacher's weights; --noinherit starts from random ones.",
    sample_texts="Texts on which inherited weights are fitted.",
    mask_rate="Fraction of the words that masked-LM masks.",
    # The model, where it starts from nothing.
    family="Family of the encoder.",
    num_layers="Blocks.",
    hidden_dim="Width of the residual stream.",
    num_heads="Attention heads.",
    intermediate_dim="Width inside the feed-forward layers.",
    max_sequence_length="Positions the saved encoder knows.",
    dropout="Dropout rate that the saved encoder fine-tunes with; pretraining itself uses none.",
    # How.
    minutes="Train for so long, by the clock.",
    steps="Or for so many steps.",
    resume="Go on from the checkpoint of --output_dir.",
    max_length="Longest row in tokens while training.",
    batch_size="Rows of that length in a batch; of shorter ones it holds more.",
    learning_rate="Highest rate of AdamW; it decays linearly to the end of the run.",
    warmup="Steps over which it rises.",
    dtype="float32 or mixed_bfloat16.",
    teacher_dtype="float32 or bfloat16.",
    heldout_batches="Held-out batches to evaluate on.",
    heldout_minutes="Minutes between two evaluations on them.",
    snapshot_minutes="Minutes between two writings of preset and checkpoint.",
)
_BOTH = ("output_dir", "overwrite", "teacher", "preset", "seed")
PREPARE = OptionFlags(
    TextOptions,
    without=_BOTH,
    texts="A text file or a folder of them; may be given several times.",
    vocabulary="A vocab.txt; by default one is learned from the texts.",
    vocabulary_size="Pieces to learn.",
    lowercase="Lower-case the texts (with --vocabulary or a learned one).",
    vocabulary_paragraphs="Most paragraphs to learn the vocabulary from.",
    heldout_fraction="Fraction of the documents that are held out.",
)


def define_flags() -> None:
    """Make the flags of both steps."""
    for part in (STEP, PREPARE, TRAIN):
        part.define()


def read_flags() -> TextOptions | PretrainingOptions:
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
        return TRAIN.read()
    return PREPARE.read(**{name: flags.FLAGS[name].value for name in _BOTH})


def run(options: Any) -> None:
    """Write the shards, or train on them."""
    from tftransformer.runs import pretraining

    if isinstance(options, TextOptions):
        pretraining.prepare_shards(options)
    else:
        pretraining.pretrain(options)
