"""Tokenising and batching side by side: tftransformer, keras-hub and Hugging Face's fast tokenizer.

    python benchmarks/data.py --data=DATA
    python benchmarks/data.py --quick

From strings to padded batches, texts a second, in interleaved rounds; and what memory that takes beside the
texts themselves, from ten thousand rows to a million. The tables (Markdown and JSON) and a plot are left in
`runs/benchmarks/data`. `--data` is a folder with `sst2`, `ag_news` and `medical_abstracts` in it; without it the
embedded sample is repeated. The peers come with `pip install tftransformer[bench]`; one that is missing gives a
row that says so.
"""

import itertools
import tempfile
from pathlib import Path

from absl import flags
from sidebyside.flag_rules import check_flags
from sidebyside.rounds import Contender, run_rounds
from sidebyside.table import Column, Rows, add_ratios, machine, markdown, plot_bars, summarize, write_tables
from sidebyside.texts import real

import tftransformer as tt
from tftransformer.errors import TransformerError
from tftransformer.runs.commands import run_command

FLAGS = flags.FLAGS

flags.DEFINE_boolean("quick", False, "Fewer texts, rows and rounds.")
flags.DEFINE_string("output_dir", "runs/benchmarks/data", "Where the tables go.")
flags.DEFINE_string("data", None, "A folder with the real data sets.")
flags.DEFINE_list("rows", None, "Corpus sizes for memory; default: 10000,100000,1000000 (--quick: 10000,100000).")
flags.DEFINE_integer("texts", None, "Texts of each data set for speed; default: 12000 (--quick: 4000).")
flags.DEFINE_integer("batch_size", 16, "Rows a batch.")
flags.DEFINE_integer("length", 128, "Tokens a text is trimmed to.")
flags.DEFINE_integer("rounds", None, "Turns for each contender; default: 5 (--quick: 2).")
flags.DEFINE_float("timeout", 600.0, "Seconds that one contender may take for its preparation or for a turn.")

FLAG_RULES = {
    "at least 1": ["texts", "batch_size", "rounds"],
    "at least 2, the special tokens": ["length"],
    "a folder": ["data"],
}
SPEED = [
    Column("texts/s, first epoch", "first_epoch", ",.0f"),
    Column("ours is x times as fast", "first_epoch_ratio", ".2f"),
    Column("texts/s, later epochs", "later_epochs", ",.0f"),
    Column("padding", "padding", ".1%"),
    Column("peak MB", "peak_bytes", ",.0f", 1e-6),
]
MEMORY = [
    Column("texts, bytes a row", "texts_bytes", ",.0f"),
    Column("beyond them, bytes a row", "more_bytes", ",.0f"),
    Column("beyond them, MB", "more_total", ",.0f", 1e-6),
    Column("texts/s", "first_epoch", ",.0f"),
]


def corpus_sizes() -> list[int]:
    """Return the sizes that --rows names, whole numbers of at least 1."""
    named = FLAGS.rows or (["10000", "100000"] if FLAGS.quick else ["10000", "100000", "1000000"])
    for value in named:
        if not value.isdecimal() or int(value) < 1:
            raise TransformerError(f"rows must be whole numbers of at least 1; got {value!r}")
    return [int(value) for value in named]


def corpora(count: int) -> dict[str, tuple[list[str], list[int]]]:
    """Return texts and label numbers of each data set, by its name."""
    if FLAGS.data is not None:
        sets = {name: real(FLAGS.data, name, count) for name in ("sst2", "ag_news", "medical_abstracts")}
        return {name: (found.texts, found.labels) for name, found in sets.items()}
    train = tt.data.load("sample").train
    labels = [train.labels.index(target) for target in train.targets]
    rows = list(itertools.islice(itertools.cycle(zip(train.texts, labels, strict=True)), count))
    return {"sample": ([text for text, _ in rows], [label for _, label in rows])}


def write_rows(path: Path, texts: list[str], labels: list[int], count: int) -> str:
    """Write `count` rows, the given ones again and again, as `label<TAB>text` lines."""
    clean = [" ".join(text.split()) for text in texts]
    with path.open("w", encoding="utf-8") as file:
        rows = itertools.islice(itertools.cycle(zip(labels, clean, strict=True)), count)
        file.writelines(f"{label}\t{text}\n" for label, text in rows)
    return str(path)


def contenders(settings: dict) -> list[Contender]:
    """Return who takes part."""
    return [
        Contender("ours", "ours.py:data", settings),
        Contender("keras-hub", "kerashub.py:data", settings),
        Contender("Hugging Face", "huggingface.py:data", settings),
        Contender("Hugging Face, group_by_length", "huggingface.py:data", {**settings, "group_by_length": True}),
    ]


def measured_rows(settings: dict, measure: str, folder: Path) -> Rows:
    """Return the rows of one data set's speed, in rounds, or of one corpus size's memory, one contender after the other."""
    everybody = contenders({**settings, "measure": measure})
    options = {"timeout": FLAGS.timeout, "logs": folder / "logs"}
    if measure == "memory":
        return summarize(run_rounds(everybody[:3], 1, together=False, **options))
    return summarize(run_rounds(everybody, FLAGS.rounds or (2 if FLAGS.quick else 5), **options))


def main(_: list[str]) -> None:
    check_flags(FLAG_RULES, FLAGS.flag_values_dict())
    sizes, folder = corpus_sizes(), Path(FLAGS.output_dir)
    vocabulary = str(Path(tt.__file__).parent / "presets/bert_12x192_en_uncased/vocab.txt")
    common = {"vocabulary": vocabulary, "length": FLAGS.length, "batch_size": FLAGS.batch_size}
    texts, panels, tables = [], {}, {}
    found = corpora(FLAGS.texts or (4000 if FLAGS.quick else 12000))

    def add(title: str, rows: Rows, columns: list[Column], figure: tuple[str, str]) -> None:
        texts.append(f"### {title}\n\n{markdown(rows, columns)}\n")
        print("\n" + texts[-1], flush=True)
        tables[title], panels[title] = rows, (rows, *figure)
        # After each table, so that an interrupted run leaves what it has.
        write_tables(folder, "data", "\n".join(texts), {"machine": machine(), "tables": tables})
        plot_bars(folder / "data.png", panels)

    with tempfile.TemporaryDirectory() as scratch:
        for name, rows in found.items():
            file = write_rows(Path(scratch) / "speed.tsv", *rows, len(rows[0]))
            title = f"{name}: {len(rows[0]):,} texts, batches of {FLAGS.batch_size}"
            measured = measured_rows({**common, "file": file}, "speed", folder)
            add_ratios(measured, "first_epoch", "ours")
            add(title, measured, SPEED, ("first_epoch", "texts/s, first epoch"))
        name, rows = next(iter(found.items()))
        measured = []
        for size in sizes:
            file = write_rows(Path(scratch) / "memory.tsv", *rows, size)
            of_size = measured_rows({**common, "file": file}, "memory", folder)
            measured += [{**row, "name": f"{row['name']}, {size:,} rows"} for row in of_size]
        add(f"{name}: memory of a corpus", measured, MEMORY, ("more_total", "bytes beyond the texts"))
    print(f"saved {folder}")


if __name__ == "__main__":
    run_command(main)
