"""Pretrain an encoder on plain text, by masked-LM or by distillation from a larger open encoder, to a preset.

Two steps. The first turns texts into integers, once:

    python -m tftransformer pretrain prepare --texts=books/ --output_dir=shards/
    python -m tftransformer pretrain prepare --texts=books/ --preset=bert_12x192_en_uncased \\
        --teacher=all-MiniLM-L6-v2/ --output_dir=shards/

Texts are UTF-8 `.txt` or `.txt.gz` files, one paragraph a line, a blank line between documents. The vocabulary
is learned from them, or taken from --vocabulary or --preset; every 200th part of the texts is held out. The
second step reads only what the first one wrote, and runs with KERAS_BACKEND=tensorflow or jax (there without
TensorFlow):

    python -m tftransformer pretrain train --shards=shards/ --minutes=60 --output_dir=presets/mine
    python -m tftransformer pretrain train --shards=shards/ --preset=bert_12x192_en_uncased --minutes=60 \\
        --output_dir=presets/mine
    python -m tftransformer pretrain train --shards=shards/ --teacher=all-MiniLM-L6-v2/ --objective=distillation \\
        --minutes=60 --output_dir=presets/mine

It starts from nothing, from --preset (which must have made the shards' ids), or, distilling without --preset,
from the teacher's weights, projected and fitted on a sample (a minute or two). While it runs it shows the losses,
the perplexity or loss on held-out text, tokens a second, the fraction of the machine's matrix-product peak that
these take, and the time left. Of a distillation the `word` and `sentence` losses are relative errors, where 1 is
no better than the mean vector and 0 is the teacher.

--output_dir is a preset, written anew every few minutes: what `classify --preset=FOLDER` and
`tt.load_preset` take. After masked-LM it holds the head for masked words, too, as a Hugging Face folder may: a
run that continues such a preset goes on with both. Beside it, in a folder of that name with `.run` behind it,
stand checkpoint.npz, log.csv and curves.png; the same command with --resume goes on from the checkpoint, in the
same order of the data.
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
    """Step of the command: prepare or train."""

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
