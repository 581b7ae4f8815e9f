"""Say whether new texts are still of the kind that a classifier was trained on.

    python examples/classify.py --freeze_layers=8
    python examples/drift.py --model=runs/sample-1 --texts=new.txt

compares lengths, unknown tokens, frequencies of tokens, predicted labels, confidence and the classifier's vectors with
those of the run's own texts, each beside what is noise, and lists words that more of the new texts have. Texts are read
from a .txt file, one a line, or from a CSV, TSV or JSONL file; labels in it are not looked at.
"""

from absl import flags

from tftransformer.data.readers.text_file import existing_path
from tftransformer.experiments.commands import run_command
from tftransformer.experiments.runs import RunFolder

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "model", None, "The folder of a finished run of classify.py, whose data can still be read."
)
flags.DEFINE_string("texts", None, "A file of new texts.")
flags.DEFINE_string("plot", "drift.png", "Where to draw it; empty: nowhere.")
flags.DEFINE_integer("seed", 0, "Of what is drawn at random.")
flags.mark_flags_as_required(["model", "texts"])


def read_flags() -> None:
    RunFolder.open(FLAGS.model, argument="model")
    existing_path(FLAGS.texts)


def main(_: None) -> None:
    from tftransformer.experiments.drift import report_run

    report_run(FLAGS.model, FLAGS.texts, FLAGS.plot, FLAGS.seed)


if __name__ == "__main__":
    run_command(main, read_flags)
