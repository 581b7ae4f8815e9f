"""The data sets of `defaults.py`: two halves, and the rows that every contender gets."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tftransformer.data.loading import load
from tftransformer.data.split import Split
from tftransformer.data.splitting import subset
from tftransformer.errors import TransformerError

LANGUAGES = ("english", "french", "german", "italian", "portuguese", "spanish")
# The size that means so many rows of each class; other sizes are rows in all.
PER_CLASS = 8
TEST_ROWS = 1000
_TEST_SEED = 20240501


@dataclasses.dataclass(frozen=True)
class DataSet:
    """The place of a set's rows, and what is the same for all contenders.

    Args:
        half: A key of `HALVES`.
        length: Longest text in tokens.
        classes: Number of labels.
        files: The files of its training and its test rows; several pairs are put together. A single file holds both.
        columns: Arguments of `data.load` for them.
        pairs: Whether a row is two texts.
        joined: Whether the two text columns are one text, with a space between.
    """

    half: str
    length: int
    classes: int
    files: Sequence[Sequence[str]]
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    pairs: bool = False
    joined: bool = False


# The halves were fixed before anything was measured: rules for defaults are made on the first, and judged on the
# second, which nobody looks at while a rule is made. SST-2 and the abstracts had a part in earlier choices.
SETS = {
    "sst2": DataSet("rules", 64, 2, [("train.tsv", "stanford_sentences_test.tsv")]),
    "medical_abstracts": DataSet("rules", 128, 5, [("train_ohsumed.csv", "medical_tc_test.csv")]),
    "clinc150": DataSet("rules", 32, 150, [("data_full.json",)]),
    "mrpc": DataSet(
        "rules", 96, 2, [("msr_paraphrase_train.txt", "msr_paraphrase_test.txt")],
        {"text_columns": [4, 5], "label_column": 1}, pairs=True,
    ),
    "ag_news": DataSet(
        "judged", 64, 4, [("train.csv", "test.csv")], {"text_columns": [2, 3], "label_column": 1}, joined=True
    ),
    "chnsenticorp": DataSet("judged", 128, 2, [("train.tsv", "test.tsv")]),
    "multilingual_sentiment": DataSet(
        "judged", 64, 3, [(f"{language}_train.tsv", f"{language}_test.tsv") for language in LANGUAGES]
    ),
    "rte": DataSet("judged", 128, 2, [("train.tsv", "dev.tsv")], pairs=True),
}  # fmt: skip
HALVES = {half: tuple(name for name in SETS if SETS[name].half == half) for half in ("rules", "judged")}


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows that every contender gets at one size with one seed.

    The labels are those of the training rows: what a user has who has no others. Of more classes than rows (`clinc150`
    at 50) some have no row, cannot be predicted, and their test rows are wrong for everybody. Which these are is the
    same for each seed: `subset_rows` takes the first row of as many classes as there is room for in the file's order.
    """

    train: Split
    test: Split


@functools.lru_cache(maxsize=None)
def read_set(folder: str, name: str) -> Rows:
    """Read all training rows of a set, and the test rows: the official ones, or 1,000 of them, the same for everybody.

    Args:
        folder: With a folder for each set.
        name: A key of `SETS`.
    """
    root, found = Path(folder) / name, SETS[name]
    if not root.is_dir():
        raise TransformerError(f"data must be a folder with {name} in it; got {folder!r}")
    parts = []
    for files in found.files:
        paths = [root / file for file in files]
        named = {"source": paths[0]} if len(paths) == 1 else {"train": paths[0], "test": paths[1]}
        parts.append(load(**named, **found.columns, validation_fraction=0.0, test_fraction=0.0))
        if parts[-1].test is None:
            raise TransformerError(f"{paths[0]} must hold test rows, too")
    train, test = (_together([getattr(part, split) for part in parts], found.joined) for split in ("train", "test"))
    return Rows(train, subset(test, TEST_ROWS, _TEST_SEED))


def _together(parts: Sequence[Split], joined: bool) -> Split:
    """Put several splits into one; `joined` makes a text of each pair."""
    texts = [text for part in parts for text in part.texts]
    if joined:
        texts = [" ".join(filter(None, map(str.strip, pair))) for pair in texts]
    return Split(texts, [target for part in parts for target in part.targets], parts[0].name)


def draw_rows(folder: str, name: str, size: int, seed: int) -> Rows:
    """Draw the training rows of one size and seed; size 8 means 8 rows of each class (all of a class with fewer)."""
    found = read_set(folder, name)
    train = each_class(found.train, size, seed) if size == PER_CLASS else subset(found.train, size, seed)
    return Rows(train, found.test)


def each_class(split: Split, count: int, seed: int) -> Split:
    """Draw so many rows of each class, or all that it has, in the order of the source."""
    by_label: dict[str, list[int]] = {label: [] for label in split.labels}
    for row in np.random.default_rng([seed, count]).permutation(len(split)):
        by_label[split.targets[row]].append(int(row))
    return split.take(sorted(row for rows in by_label.values() for row in rows[:count]))


def rows_of(name: str, size: int) -> int:
    """Count the rows that a size is, where the set has enough: 8 a class are 1,200 of `clinc150`."""
    return PER_CLASS * SETS[name].classes if size == PER_CLASS else size
