"""Inference side by side: strings in, probabilities out, for one text and for a thousand.

    python benchmarks/inference.py --data=DATA --minilm=FOLDER
    python benchmarks/inference.py --quick

tftransformer's and keras-hub's SavedModels, ONNX Runtime and torch with Hugging Face's fast tokenizer in front. All
get the same weights and the same batches, each padded to its longest text, so none gains by padding less;
tokenizing counts. The table (Markdown and JSON) and a plot are left in `runs/benchmarks/inference`. The peers
come with `pip install tftransformer[bench]`; one that is missing gives a row that says so.
"""

import itertools
import tempfile
from pathlib import Path

import numpy as np
from absl import flags
from sidebyside.flag_rules import check_flags
from sidebyside.rounds import Contender, run_rounds
from sidebyside.table import Column, Rows, add_ratios, machine, markdown, plot_bars, summarize, write_tables
from sidebyside.texts import real
from sidebyside.weights import random_folder

import tftransformer as tt
from tftransformer.runs.commands import run_command

FLAGS = flags.FLAGS
BASE = "ONNX Runtime fp32"
FLAG_RULES = {
    "at least 1": ["texts", "batch_size", "rounds"],
    "at least 2, the special tokens": ["length"],
    "a folder": ["data", "minilm"],
}
# What each worker builds, in a process of its own so that building counts in nobody's memory.
BUILDS = {
    "ours": ("ours.py:export", ()),
    "keras_hub": ("kerashub.py:export", ("keras_hub",)),
    "onnx": ("huggingface.py:export", ("fp32.onnx", "int8.onnx")),
}
COLUMNS = [
    Column("texts/s", "texts_per_second", ",.0f"),
    Column("times ONNX fp32", "speed_up", ".2f"),
    Column("one text, ms", "one_text_ms", ".2f"),
    Column("of ONNX fp32's", "one_text_ms_ratio", ".2f"),
    Column("largest difference", "difference", ".1e"),
    Column("peak MB", "peak_bytes", ",.0f", 1e-6),
    Column("on disk, MB", "bytes", ",.0f", 1e-6),
]

flags.DEFINE_boolean("quick", False, "Fewer texts and rounds.")
flags.DEFINE_string("output_dir", "runs/benchmarks/inference", "Where the table goes.")
flags.DEFINE_string("data", None, "A folder with sst2, ag_news and medical_abstracts; default: the sample's texts.")
flags.DEFINE_string("minilm", None, "A Hugging Face folder with real weights; default: its shape, random weights.")
flags.DEFINE_integer("texts", None, "How many; default: 1000 (--quick: 200).")
flags.DEFINE_integer("batch_size", 32, "Rows a batch.")
flags.DEFINE_integer("length", 128, "Tokens a text is trimmed to.")
flags.DEFINE_integer("rounds", None, "Turns for each contender; default: 5 (--quick: 2).")
flags.DEFINE_float("timeout", 600.0, "Seconds that one contender may take for its preparation or for a turn.")


def texts_of(count: int) -> list[str]:
    """Return real texts of three kinds, or the embedded sample's again and again."""
    if FLAGS.data is None:
        return list(itertools.islice(itertools.cycle(tt.data.load("sample").train.texts), count))
    names = ("sst2", "ag_news", "medical_abstracts")
    sets = [real(FLAGS.data, name, -(-count // len(names))).texts for name in names]
    return [text for row in zip(*sets, strict=True) for text in row][:count]


def weights_folder(folder: Path) -> Path:
    """Write a classifier that all contenders read: real weights and a fresh head, or MiniLM's shape."""
    if FLAGS.minilm is None:
        return random_folder(folder, 6, 384)
    classifier = tt.TextClassifier.from_preset(FLAGS.minilm, labels=("a", "b"), pooling="cls", pooler=True)
    classifier.save_to_preset(folder, format="huggingface")
    return folder


def one_text(classifier_folder: Path, texts: list[str], tokens: int = 32) -> str:
    """Return the words at the start of the texts that make `tokens` tokens, or as many as fit below."""
    tokenizer = tt.checkpoints.load_preset(classifier_folder).tokenizer.build()
    words = " ".join(texts).split()[:tokens]
    while words and len(tokenizer.encode(" ".join(words))) > tokens - 2:
        words.pop()
    return " ".join(words)


def contenders(folder: Path, built: Path, common: dict) -> list[Contender]:
    """Return the rows of the table."""

    def row(name: str, runtime: str, file: str | None, dtype: str = "float32") -> Contender:
        settings = {**common, "runtime": runtime, "folder": str(folder), "dtype": dtype}
        return Contender(name, "runtimes.py", settings | ({"file": str(built / file)} if file else {}))

    return [
        row(BASE, "onnx", "fp32.onnx"),
        row("ours fp32", "saved_model", "ours_float32"),
        row("ours bf16", "saved_model", "ours_bfloat16", "bfloat16"),
        row("keras-hub SavedModel fp32", "saved_model", "keras_hub"),
        row("torch fp32", "torch", None),
        row("torch bf16", "torch", None, "bfloat16"),
        row("ONNX Runtime int8", "onnx", "int8.onnx", "int8"),
    ]


def table_rows(outcomes: dict, single: dict, reasons: dict[str, str]) -> Rows:
    """Make the table's rows of the outcomes of many texts and of a single one, and check their probabilities against ours in float32.

    `reasons` has by file why it could not be built.
    """
    rows = summarize(outcomes)
    add_ratios(rows, "texts_per_second", BASE)
    one = summarize(single)
    add_ratios(one, "one_text_ms", BASE, lower_is_better=True)
    for row, latency in zip(rows, one, strict=True):
        row["figures"] |= latency["figures"]
        row["failure"] = row["failure"] or latency["failure"]
    reference = outcomes["ours fp32"].ready.get("probabilities")
    for row in rows:
        if ratio := row["figures"].get("texts_per_second_ratio"):
            row["ready"]["speed_up"] = 1 / ratio["median"]
        row["failure"] = reasons.get(row["settings"].get("file", ""), row["failure"])
        given = row["ready"].pop("probabilities", None)
        if given is not None and reference is not None:
            difference = row["ready"]["difference"] = float(np.abs(np.subtract(given, reference)).max())
            if row["settings"]["dtype"] == "float32" and difference > 1e-4:
                row["failure"] = f"its probabilities differ by {difference:.1e}"
        row["settings"].pop("batches", None)
    return rows


def main(_: list[str]) -> None:
    check_flags(FLAG_RULES, FLAGS.flag_values_dict())
    folder = Path(FLAGS.output_dir)
    rounds = FLAGS.rounds or (2 if FLAGS.quick else 5)
    texts = texts_of(FLAGS.texts or (200 if FLAGS.quick else 1000))
    ordered = sorted(texts, key=len)  # texts of like length share a batch
    batches = [ordered[i : i + FLAGS.batch_size] for i in range(0, len(ordered), FLAGS.batch_size)]
    with tempfile.TemporaryDirectory() as scratch:
        weights, built = weights_folder(Path(scratch) / "huggingface"), Path(scratch)
        settings = {"folder": str(weights), "target": str(built), "length": FLAGS.length}
        builds = [Contender(f"build {what}", worker, settings) for what, (worker, _) in BUILDS.items()]
        done = run_rounds(builds, 1, timeout=FLAGS.timeout, together=False, logs=folder / "logs")
        reasons = {}
        for what, (_, files) in BUILDS.items():
            if failure := done[f"build {what}"].failure:
                reasons |= {str(built / file): failure for file in files}
        many = {"batches": batches, "length": FLAGS.length}
        # In processes of their own: a runtime may keep weights arranged for the first size of batch that it saw.
        single = {"one": one_text(weights, texts), "length": FLAGS.length, "calls": 50 if FLAGS.quick else 200}
        found = [
            run_rounds(contenders(weights, built, work), rounds, timeout=FLAGS.timeout, logs=folder / logs)
            for work, logs in ((many, "logs"), (single, "logs_one"))
        ]
    measured = table_rows(*found, reasons)
    title = f"{len(texts):,} texts in batches of {FLAGS.batch_size}, sorted by length; one text of 32 tokens"
    text = f"### {title}\n\n{markdown(measured, COLUMNS)}\n"
    print("\n" + text, flush=True)
    write_tables(folder, "inference", text, {"machine": machine(), "tables": {title: measured}})
    plot_bars(folder / "inference.png", {title: (measured, "texts_per_second", "texts/s")})
    print(f"saved {folder}")


if __name__ == "__main__":
    run_command(main)
