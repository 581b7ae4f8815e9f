"""The texts that every contender trains on: made-up ones of a fixed length, and real ones with their lengths."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np

from tftransformer.data.readers.delimited import read_delimited
from tftransformer.errors import TransformerError

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZE = 30522  # of BERT's vocabulary, since the optimizer's work on the table is part of a step
_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
# File, column of the label, columns of the text (from 0), whether the first line is a header.
FILES = {
    "sst2": ("sst2/train.tsv", 1, (0,), True),
    "sst2_dev": ("sst2/dev.tsv", 1, (0,), True),
    "sst2_test": ("sst2/stanford_sentences_test.tsv", 1, (0,), True),
    "medical_abstracts": ("medical_abstracts/train_ohsumed.csv", 0, (1,), True),
    "ag_news": ("ag_news/train.csv", 0, (1, 2), False),
}


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Texts and the number of each one's class."""

    texts: list[str]
    labels: list[int]
    names: tuple[str, ...]

    def to_settings(self) -> dict:
        """Return this in JSON's types, for a worker."""
        return {"texts": self.texts, "labels": self.labels, "names": list(self.names)}


def vocabulary() -> list[str]:
    """Make up BERT's number of tokens: the special ones and made-up words, none of which contains a space."""
    syllables = [c + v for c in _CONSONANTS for v in _VOWELS]
    words = ("".join(parts) for parts in itertools.product(syllables, repeat=3))
    return [*SPECIAL, *itertools.islice(words, SIZE - len(SPECIAL))]


def fixed_length(rows: int, length: int, seed: int = 0) -> Labelled:
    """Make up texts of exactly `length` tokens of `vocabulary`, [CLS] and [SEP] included, with labels at random."""
    draw = np.random.default_rng(seed)
    words = np.array(vocabulary()[len(SPECIAL) :])
    texts = [" ".join(words[draw.integers(len(words), size=length - 2)]) for _ in range(rows)]
    return Labelled(texts, draw.integers(2, size=rows).tolist(), ("negative", "positive"))


def real(folder: str, name: str, rows: int | None = None, seed: int = 0) -> Labelled:
    """Draw rows of a real data set, all for None, from its file in a folder with a folder for each; `name` is a key of `FILES`."""
    file, label_at, text_at, header = FILES[name]
    path = Path(folder) / file
    if not path.is_file():
        raise TransformerError(f"data must be a folder with {file}; {path} is no file")
    body = read_delimited(path).rows[1 if header else 0 :]
    if rows is not None and rows < len(body):
        chosen = np.random.default_rng(seed).choice(len(body), rows, replace=False)
        body = [body[i] for i in chosen]
    names = tuple(sorted({row[label_at] for row in body}))
    texts = [" ".join(row[i] for i in text_at) for row in body]
    return Labelled(texts, [names.index(row[label_at]) for row in body], names)
