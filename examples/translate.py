"""Train a Transformer from nothing to turn texts into others, and report, save and export it.

    python examples/translate.py

learns to write dates, as people do, in ISO form ("the 3rd of May 1998" to "1998-05-03"), and ends with the fraction of unseen
dates that are right to the last character. Everything is left in `runs/dates-1`, with a picture of where the decoder looks.
With parallel texts of your own, which end with BLEU and chrF (`pip install -e ".[translation]"`):

    python examples/translate.py --dataset=multi30k/ --source=en --target=de --vocabulary_size=8000 --epochs=30

`python -m tftransformer translate` is the whole command: it has all flags, resumes, goes on with a finished run and translates.
"""

import datetime
import random
from pathlib import Path

from absl import flags

import tftransformer as tt
from tftransformer.runs.commands import run_command

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", None, "A folder of parallel texts, or a file with two columns. None: dates.")
flags.DEFINE_string("source", None, "Ending of the files of the source, such as en, or name of its column.")
flags.DEFINE_string("target", None, "The same of the target.")
flags.DEFINE_integer("vocabulary_size", 300, "Tokens of the vocabulary of both sides.", lower_bound=261)
flags.DEFINE_integer("num_layers", 2, "Blocks of the encoder, and of the decoder.", lower_bound=1)
flags.DEFINE_integer("hidden_dim", 64, "Width; a multiple of 4, the number of heads.", lower_bound=4)
flags.DEFINE_integer("sequence_length", 48, "Tokens of a text at most.", lower_bound=4)
flags.DEFINE_float("learning_rate", 4e-3, "Highest learning rate.")
flags.DEFINE_integer("batch_size", 64, "Pairs a batch.", lower_bound=1)
flags.DEFINE_integer("epochs", 9, "Passes over the pairs.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Random seed of weights, order and splits.")
flags.DEFINE_string("output_dir", None, "Folder of the run. None: the next free one in runs/.")

FORMS = (
    "{d} {B} {y}",
    "{B} {d}, {y}",
    "the {d}{th} of {B} {y}",
    "{b} {d} {y}",
    "{d}.{m}.{y}",
    "{A}, {d} {B} {y}",
    "{y}/{m}/{d}",
)


def dates(rows):
    """Dates as people write them, each once, and their ISO forms."""
    draw, pairs = random.Random(FLAGS.seed), {}
    while len(pairs) < rows:
        day = datetime.date(1900, 1, 1) + datetime.timedelta(draw.randrange(73_000))
        ending = {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10 if day.day // 10 != 1 else 0, "th")
        names = {"A": f"{day:%A}", "B": f"{day:%B}", "b": f"{day:%b}", "th": ending}
        text = draw.choice(FORMS).format(d=day.day, m=day.month, y=day.year, **names)
        pairs[draw.choice((text, text.lower()))] = day.isoformat()
    return list(pairs.items())


def load_pairs():
    if FLAGS.dataset:
        return tt.data.load_pairs(FLAGS.dataset, FLAGS.source, FLAGS.target, seed=FLAGS.seed)
    if FLAGS.source or FLAGS.target:
        raise tt.TransformerError("source and target go with dataset, a folder of parallel texts or a file; got none")
    rows = dates(9_200)
    parts = {"train": rows[:8_000], "validation": rows[8_000:8_200], "test": rows[8_200:]}
    return tt.data.Splits(*(tt.data.Split(part, None, name) for name, part in parts.items()))


def main(_):
    import keras

    train, validation, test = load_pairs()
    tokenizer = tt.text.train_byte_bpe([text for pair in train.texts for text in pair], FLAGS.vocabulary_size)
    keras.utils.set_random_seed(FLAGS.seed)
    config = tt.TransformerConfig(
        "transformer",
        vocabulary_size=tokenizer.vocabulary_size,
        num_layers=FLAGS.num_layers,
        hidden_dim=FLAGS.hidden_dim,
        num_heads=4,
        intermediate_dim=2 * FLAGS.hidden_dim,
        normalize_first=True,
        share_embeddings=True,  # one table for both sides and the output
        dropout=0.1 if FLAGS.dataset else 0.0,
    )
    translator = tt.Seq2Seq(config, tokenizer, sequence_length=FLAGS.sequence_length, seed=FLAGS.seed)
    translator.compile(learning_rate=FLAGS.learning_rate, warmup=0.2)

    name = Path(FLAGS.dataset or "dates").stem
    with tt.runs.RunFolder.create(FLAGS.output_dir, name, config=FLAGS.flag_values_dict()) as run:
        translator.fit(train, validation_data=validation, epochs=FLAGS.epochs, batch_size=FLAGS.batch_size, verbose=2)

        sources, references = zip(*test.texts)
        written = translator.generate(list(sources), verbose=True)
        right = sum(map(str.__eq__, written, references)) / len(written)
        report = f"{right:.3f} of {len(written):,} unseen texts are right to the last character"
        if FLAGS.dataset:
            report = f"{report}\n{tt.evaluation.translation_report({'this model': written}, references)}"
        print(f"\n{report}\n", *(f"{one} -> {other}\n" for one, other in zip(sources[:5], written)))

        words, pieces, scores = translator.cross_attention(sources[0], written[0])  # (blocks, heads, written, words)
        tt.evaluation.plot_cross_attention(run.attention_path, [(words, pieces, scores.mean((0, 1)))])
        run.report_path.write_text(f"{report}\n")
        translator.save_to_preset(run.model_path)  # tt.load gives it back
        translator.export(run.saved_model_path)  # strings in, strings out; TF Serving
        run.finish({"test": {"exact": right}})
        print(f"everything is in {run.path}")


if __name__ == "__main__":
    run_command(main)
