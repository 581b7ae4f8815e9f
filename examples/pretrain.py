"""Pretrain an encoder on plain text, by masked-LM or by distillation from a larger open encoder, to a preset.

    python examples/pretrain.py --texts=books/ --minutes=60 --output_dir=presets/mine
    python examples/pretrain.py --texts=books/ --teacher=all-MiniLM-L6-v2/ --objective=distillation \\
        --minutes=60 --output_dir=presets/mine

Texts are UTF-8 `.txt` or `.txt.gz` files, one paragraph a line, a blank line between documents. Progress
shows the loss, tokens a second and the time left. A distilled student starts from its teacher's weights,
projected and fitted on a sample (a minute or two); its `word` and `sentence` losses are relative errors,
where 1 is no better than the mean vector and 0 is the teacher. The folder is written every few minutes and
at the end; it is what `examples/classify.py --preset=FOLDER` and `tt.load_preset` take. The embedded preset
came out of the second command; its card has the figures to expect.
"""

from absl import flags

from tftransformer.experiments.commands import run_command

FLAGS = flags.FLAGS

flags.DEFINE_multi_string("texts", None, "A text file or a folder of them; may be given several times.")
flags.DEFINE_string("output_dir", None, "Folder of the preset.")
flags.DEFINE_boolean("overwrite", False, "Replace what --output_dir holds.")

# What to learn from
flags.DEFINE_string(
    "objective",
    "masked_lm",
    "masked_lm, distillation, or both: masked texts for the student, whole ones for the teacher.",
)
flags.DEFINE_string("teacher", None, "Preset or folder of the teacher, an encoder of the BERT family.")
flags.DEFINE_boolean(
    "inherit", True, "Start from the teacher's weights; --noinherit starts from random ones."
)
flags.DEFINE_integer("sample_texts", 1500, "Texts on which inherited weights are fitted.")
flags.DEFINE_float("mask_rate", 0.15, "Share of the words that masked-LM hides.")

# Model
flags.DEFINE_string("vocabulary", None, "A vocab.txt; by default one is learned from the texts.")
flags.DEFINE_integer("vocabulary_size", 13000, "Pieces to learn.")
flags.DEFINE_integer("num_layers", 12, "Blocks.")
flags.DEFINE_integer("hidden_dim", 192, "Width of the residual stream.")
flags.DEFINE_integer("num_heads", 6, "Attention heads.")
flags.DEFINE_integer("intermediate_dim", 768, "Width inside the feed-forward layers.")
flags.DEFINE_integer("max_sequence_length", 256, "Positions the saved encoder knows.")
flags.DEFINE_float("dropout", 0.1, "Rate the saved encoder fine-tunes with; pretraining itself uses none.")

# Training
flags.DEFINE_float("minutes", None, "Train for so long, by the clock.")
flags.DEFINE_integer("steps", None, "Or for so many steps.")
flags.DEFINE_integer("max_length", 64, "Longest row in tokens while training.")
flags.DEFINE_integer("batch_size", 64, "Rows of that length in a batch; of shorter ones it holds more.")
flags.DEFINE_float("learning_rate", 5e-4, "Highest rate of AdamW; it decays linearly to the end of the run.")
flags.DEFINE_integer("warmup", 200, "Steps over which it rises.")
flags.DEFINE_float("snapshot_minutes", 10.0, "Between two writings of the preset.")
flags.DEFINE_integer("seed", 0, "Of weights, order and masks.")


def main(_: list[str]) -> None:
    from tftransformer.errors import TransformerError
    from tftransformer.experiments.pretraining import PretrainingOptions, pretrain

    for name in ("texts", "output_dir"):
        if not FLAGS[name].value:
            raise TransformerError(f"--{name} is missing; --help lists the flags")
    names = PretrainingOptions.__dataclass_fields__
    pretrain(PretrainingOptions(**{name: FLAGS[name].value for name in names}))


if __name__ == "__main__":
    run_command(main)
