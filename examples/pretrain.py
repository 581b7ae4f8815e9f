"""Pretrain an encoder on plain text, by masked-LM or by distillation from a larger open encoder, to a preset.

Two steps. The first turns texts into integers, once:

    python examples/pretrain.py prepare --texts=books/ --output_dir=shards/
    python examples/pretrain.py prepare --texts=books/ --preset=bert_12x192_en_uncased \\
        --teacher=all-MiniLM-L6-v2/ --output_dir=shards/

Texts are UTF-8 `.txt` or `.txt.gz` files, one paragraph a line, a blank line between documents. The vocabulary
is learned from them, or taken from --vocabulary or --preset; every 200th part of the texts is held out. The
second step reads only what the first one wrote, and runs with KERAS_BACKEND=tensorflow or jax (there without
TensorFlow):

    python examples/pretrain.py train --shards=shards/ --minutes=60 --output_dir=presets/mine
    python examples/pretrain.py train --shards=shards/ --preset=bert_12x192_en_uncased --minutes=60 \\
        --output_dir=presets/mine
    python examples/pretrain.py train --shards=shards/ --teacher=all-MiniLM-L6-v2/ --objective=distillation \\
        --minutes=60 --output_dir=presets/mine

It starts from nothing, from --preset (which must have made the shards' ids), or, distilling without --preset,
from the teacher's weights, projected and fitted on a sample (a minute or two). While it runs it shows the losses,
the perplexity or loss on held-out text, tokens a second, the share of the machine's matrix-product peak that
these take, and the time left. Of a distillation the `word` and `sentence` losses are relative errors, where 1 is
no better than the mean vector and 0 is the teacher.

--output_dir is a preset, written anew every few minutes: what `examples/classify.py --preset=FOLDER` and
`tt.load_preset` take. After masked-LM it holds the head for masked words, too, as a Hugging Face folder may: a
run that continues such a preset goes on with both. Beside it, in a folder of that name with `.run` behind it,
stand checkpoint.npz, log.csv and curves.png; the same command with --resume goes on from the checkpoint, in the
same order of the data.
"""

import functools
import sys

from absl import flags

from tftransformer.errors import TransformerError, near_miss
from tftransformer.experiments.commands import from_flags, run_command
from tftransformer.experiments.pretraining_options import PretrainingOptions
from tftransformer.experiments.pretraining_texts import TextOptions

FLAGS = flags.FLAGS
COMMANDS = ("prepare", "train")

flags.DEFINE_string("output_dir", None, "Folder of the shards (prepare) or of the preset (train).")
flags.DEFINE_boolean("overwrite", False, "Replace what --output_dir holds.")
flags.DEFINE_string("teacher", None, "Preset or folder of the teacher, an encoder of the BERT family.")
flags.DEFINE_string(
    "preset", None, "Preset or folder whose tokenizer to take (prepare), or to continue (train)."
)
flags.DEFINE_integer("seed", 0, "Of weights, order and masks.")

# prepare
flags.DEFINE_multi_string("texts", None, "A text file or a folder of them; may be given several times.")
flags.DEFINE_string("vocabulary", None, "A vocab.txt; by default one is learned from the texts.")
flags.DEFINE_integer("vocabulary_size", 13000, "Pieces to learn.")
flags.DEFINE_boolean("lowercase", True, "Lower-case the texts (with --vocabulary or a learned one).")
flags.DEFINE_integer("vocabulary_paragraphs", 2_000_000, "Most paragraphs to learn the vocabulary from.")
flags.DEFINE_float("heldout_share", 0.005, "Share of the documents that are held out.")

# train: what to learn from
flags.DEFINE_string("shards", None, "Folder that `prepare` made.")
flags.DEFINE_string(
    "objective",
    "masked_lm",
    "masked_lm, distillation, or both: masked texts for the student, whole ones for the teacher.",
)
flags.DEFINE_boolean(
    "inherit", True, "Start from the teacher's weights; --noinherit starts from random ones."
)
flags.DEFINE_integer("sample_texts", 1500, "Texts on which inherited weights are fitted.")
flags.DEFINE_float("mask_rate", 0.15, "Share of the words that masked-LM hides.")

# train: the model, where it starts from nothing
flags.DEFINE_string("family", "bert", "Family of the encoder.")
flags.DEFINE_integer("num_layers", 12, "Blocks.")
flags.DEFINE_integer("hidden_dim", 192, "Width of the residual stream.")
flags.DEFINE_integer("num_heads", 6, "Attention heads.")
flags.DEFINE_integer("intermediate_dim", 768, "Width inside the feed-forward layers.")
flags.DEFINE_integer("max_sequence_length", 256, "Positions the saved encoder knows.")
flags.DEFINE_float("dropout", 0.1, "Rate the saved encoder fine-tunes with; pretraining itself uses none.")

# train: how
flags.DEFINE_float("minutes", None, "Train for so long, by the clock.")
flags.DEFINE_integer("steps", None, "Or for so many steps.")
flags.DEFINE_boolean("resume", False, "Go on from the checkpoint of --output_dir.")
flags.DEFINE_integer("max_length", 128, "Longest row in tokens while training.")
flags.DEFINE_integer("batch_size", 32, "Rows of that length in a batch; of shorter ones it holds more.")
flags.DEFINE_float("learning_rate", 5e-4, "Highest rate of AdamW; it decays linearly to the end of the run.")
flags.DEFINE_integer("warmup", 200, "Steps over which it rises.")
flags.DEFINE_string("dtype", "float32", "float32 or mixed_bfloat16.")
flags.DEFINE_string("teacher_dtype", "bfloat16", "float32 or bfloat16.")
flags.DEFINE_integer("heldout_batches", 16, "Held-out batches to evaluate on.")
flags.DEFINE_float("heldout_minutes", 10.0, "Between two evaluations on them.")
flags.DEFINE_float("snapshot_minutes", 10.0, "Between two writings of preset and checkpoint.")


def take_command(arguments: list[str]) -> str:
    """Remove the word behind the script's name, which says what to do; "" if there is none."""
    return arguments.pop(1) if len(arguments) > 1 and not arguments[1].startswith("-") else ""


def read_flags(command: str = "") -> TextOptions | PretrainingOptions:
    if command not in COMMANDS:
        raise TransformerError(
            f"say what to do: pretrain.py prepare --texts=... or pretrain.py train --shards=...; got {command!r}"
            f"{near_miss(command, COMMANDS)}"
        )
    for name in ("texts" if command == "prepare" else "shards", "output_dir"):
        if not FLAGS[name].value:
            raise TransformerError(f"--{name} is missing; --help lists the flags")
    return from_flags(TextOptions if command == "prepare" else PretrainingOptions)


def main(options: TextOptions | PretrainingOptions) -> None:
    if isinstance(options, TextOptions):
        from tftransformer.experiments.pretraining_texts import prepare_shards

        prepare_shards(options)
    else:
        from tftransformer.experiments.pretraining import pretrain

        pretrain(options)


if __name__ == "__main__":
    run_command(main, functools.partial(read_flags, take_command(sys.argv)))
