"""Tagged sentences from column files (CoNLL), JSONL files, folders of them and tensorflow-datasets, into three splits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tftransformer.data.dedup import well_formed
from tftransformer.data.readers.columns import Table
from tftransformer.data.readers.jsonl import MISSING, read_jsonl
from tftransformer.data.readers.text_file import existing_path, read_text, split_lines
from tftransformer.data.split_files import SPLIT_WORDS, check_fractions, cut_missing, find_split_files
from tftransformer.data.tagged import TaggedSplit, TaggedSplits, cut_tagged, split_words
from tftransformer.errors import TransformerError, near_miss

SAMPLE = "sample"
# Keys of words, of their tags, and of spans in a text, where no column is named.
WORD_NAMES = ("tokens", "words")
TAG_NAMES = ("tags", "ner_tags", "ner", "pos_tags", "pos", "upos", "chunk_tags", "labels")
SPAN_NAMES = ("entities", "spans", "label", "labels")

_JSON = (".jsonl", ".ndjson", ".json")
_NOTES = (".md", ".rst", ".py")
# The two test files of the CoNLL shared tasks: one to develop on, one for the end.
_SPLIT_WORDS = {**SPLIT_WORDS, "testa": "validation", "testb": "test"}
_BLANKS = " \t\f\v"
# CoNLL-U: lines of several words at once (3-4), and of words that are not in the text (5.1).
_NO_WORD = re.compile(r"[0-9]+[-.][0-9]+")
_CONLLU_COLUMNS = (2, 4)


def load_tagged(
    source: Any = None,
    *,
    train: str | Path | None = None,
    validation: str | Path | None = None,
    test: str | Path | None = None,
    word_column: int | str | None = None,
    tag_column: int | str | None = None,
    comments: bool = False,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> TaggedSplits:
    """Load tagged sentences and return their train, validation and test splits.

    Args:
        source: A file as `read_tagged` reads it; a folder with one such file for each split, found by a word in its name
            (train, valid, dev, test, testa, testb …) whatever its ending; `"sample"` for the embedded sample;
            `"tfds:NAME/CONFIG"` for a data set prepared by tensorflow-datasets; `(words, tags)` lists; a `TaggedSplit`; or
            None with `train`.
        train, validation, test: Files for single splits, where names do not tell them apart; a path relative to the folder
            `source`, else to the working directory.
        word_column, tag_column, comments: As for `read_tagged`; of JSONL files and `tfds:`, names of keys.
        validation_fraction, test_fraction: Fractions of the training sentences that become a missing split; 0 cuts none.
        seed: Random seed of the cut.
        data_dir, download: Arguments for `tfds:` only; nothing is downloaded unless asked for.

    Returns:
        Splits of which validation or test is None where it is missing and its fraction is 0.

    Raises:
        TransformerError: one line that says what is wrong and in which file and line.

    Example:
        >>> train, validation, test = load_tagged("sample")
        >>> train.words(0)[:3], train.labels[:3]
        ([...], ('B-DATE', 'B-ORGANIZATION', 'B-PERSON'))
    """
    given = {"train": train, "validation": validation, "test": test}
    given = {name: path for name, path in given.items() if path is not None}
    check_fractions(validation_fraction, test_fraction)
    columns = {"word_column": word_column, "tag_column": tag_column}
    if isinstance(source, (TaggedSplit, tuple, list)):
        if given:
            raise TransformerError("train, validation and test go with files; the source is in memory")
        found = _from_memory(source)
    elif isinstance(source, str) and source.startswith("tfds:"):
        from tftransformer.data.readers.tfds import read_tfds_tables

        tables = read_tfds_tables(source.removeprefix("tfds:"), data_dir=data_dir, download=download)
        found = {name: tagged_from_table(table, name, **columns) for name, table in tables.items()}
        if "train" not in found:
            raise TransformerError(f"{source} must have a split named train; it has {', '.join(found) or 'none'}")
    else:
        files = find_split_files(
            source,
            given,
            samples={SAMPLE: "sample_tagged"},
            forms="a file, a folder, 'sample', 'tfds:NAME', (words, tags) or a TaggedSplit",
            missing="must have a file for the train split such as train.conll, or train=FILE",
            split_of=_split_of,
        )
        found = {name: read_tagged(path, name, comments=comments, **columns) for name, path in files.items()}
    if (training := found["train"]).tags is None:
        raise TransformerError(f"{training.source or 'source'} must have tags to train on; got sentences without any")
    return TaggedSplits(*cut_missing(found, validation_fraction, test_fraction, seed, cut_tagged))


def read_tagged(
    path: str | Path,
    name: str = "train",
    *,
    word_column: int | str | None = None,
    tag_column: int | str | None = None,
    comments: bool = False,
) -> TaggedSplit:
    """Read one file of tagged sentences.

    A JSONL file has objects with words and tags, `{"tokens": […], "tags": […]}`, or with a text and spans in characters,
    `{"text": "…", "entities": [{"start": 0, "end": 4, "label": "PLACE"}]}`, spans also as `[0, 4, "PLACE"]` or under `spans`.
    Words of a text are then runs of letters and digits and single other signs, parted where a span begins or ends, and
    their tags are IOB2.

    Any other file has a line a word and blank lines between sentences. Columns are parted by tabs, or by spaces in a line
    without tabs. Lines that begin with -DOCSTART- are left out. A file that ends in .conllu is CoNLL-U: comments are left
    out, and columns 2 and 4 are read.

    Args:
        path: The file.
        name: Name of the split.
        word_column, tag_column: Columns by number from 1, or from the end with -1; the first and the last by default. In
            JSONL files, names of the keys of words and tags.
        comments: Whether lines of a column file that begin with # are left out.

    Raises:
        TransformerError: with file and line, if lines have not equally many columns, spans overlap or are outside their
            text, or words and tags differ in number.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "trip.conll"
        >>> _ = path.write_text("To O\\nRome B-PLACE\\n\\nMay B-DATE\\n")
        >>> read_tagged(path).tags
        [('O', 'B-PLACE'), ('B-DATE',)]
    """
    path = existing_path(path)
    if path.suffix.lower() in _JSON:
        return tagged_from_table(read_jsonl(path), name, word_column=word_column, tag_column=tag_column)
    conllu = path.suffix.lower() == ".conllu"
    first, last = _CONLLU_COLUMNS if conllu else (1, -1)
    numbers = {
        "word_column": _number("word_column", first if word_column is None else word_column),
        "tag_column": _number("tag_column", last if tag_column is None else tag_column),
    }
    words: list[list[str]] = []
    tags: list[list[str]] = []
    rows: list[int] = []
    for block in _blocks(path, comments or conllu, conllu):
        rows.append(block[0][0])
        words.append([_cell(path, line, cells, "word_column", numbers) for line, cells in block])
        tags.append([_cell(path, line, cells, "tag_column", numbers) for line, cells in block])
    if not rows:
        raise TransformerError(f"{path} must hold sentences of a line a word; it has none")
    return TaggedSplit.from_words(words, tags, name=name, rows=rows, source=str(path))


def _number(argument: str, value: int | str) -> int:
    """A column of a column file, counted from 1 or from the end."""
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number == 0 or isinstance(value, bool):
        raise TransformerError(
            f"{argument} must be a number from 1, or from the end with -1, in a column file; got {value!r}"
        )
    return number


def _blocks(path: Path, comments: bool, conllu: bool) -> list[list[tuple[int, list[str]]]]:
    """The sentences, each as the lines of its words with their numbers and cells."""
    blocks: list[list[tuple[int, list[str]]]] = [[]]
    width = 0
    for number, line in enumerate(split_lines(read_text(path)), 1):
        line = line.strip(_BLANKS + "\r")
        if not line or line.startswith("-DOCSTART-"):
            blocks.append([])
            continue
        if comments and line.startswith("#"):
            continue
        cells = [cell.strip(_BLANKS) for cell in line.split("\t")] if "\t" in line else re.split(r"[ \f\v]+", line)
        if conllu and _NO_WORD.fullmatch(cells[0]):
            continue
        width = width or len(cells)
        if len(cells) != width or width < 2:
            rule = f"{width}, as the first line has" if width > 1 else "at least 2, a word and its tag"
            raise TransformerError(
                f"{path}:{number}: the number of columns must be {rule}; got {len(cells)}: {line!r:.60}"
            )
        blocks[-1].append((number, cells))
    return [block for block in blocks if block]


def _cell(path: Path, line: int, cells: Sequence[str], argument: str, numbers: Mapping[str, int]) -> str:
    number = numbers[argument]
    if abs(number) > len(cells):
        raise TransformerError(f"{argument} must be one of the {len(cells)} columns of {path}:{line}; got {number}")
    cell = cells[number - 1 if number > 0 else number]
    if not cell:
        raise TransformerError(f"{path}:{line}: column {number} must not be empty")
    return well_formed(cell)


def tagged_from_table(
    table: Table, name: str, *, word_column: int | str | None = None, tag_column: int | str | None = None
) -> TaggedSplit:
    """Return the split of a table with columns of words and tags, or of texts and spans.

    Args:
        table: Table with names, as `read_jsonl` and `read_tfds_tables` give it.
        name: Name of the split.
        word_column, tag_column: Names of the columns of words and tags; None looks for the usual ones.

    Raises:
        TransformerError: with file and line, as `read_tagged`; or there are no such columns.

    Example:
        >>> table = Table("trips", ("text", "entities"), [["To Rome!", [["3", "7", "PLACE"]]]], [1])
        >>> split = tagged_from_table(table, "train")
        >>> split.words(0), split.tags
        (['To', 'Rome', '!'], [('O', 'B-PLACE', 'O')])
    """
    names = list(table.names or ())
    words, tags = _named(table, "word_column", word_column, WORD_NAMES), None
    if words is not None:
        tags = _named(table, "tag_column", tag_column, TAG_NAMES)
    elif "text" in names:
        tags = _named(table, "tag_column", tag_column, SPAN_NAMES)
    if tags is None:
        raise TransformerError(
            f"{table.path} must have the columns tokens and tags, or text and entities; it has {', '.join(names)}; name"
            " others with word_column and tag_column"
        )
    if words is not None:
        return _from_word_lists(table, name, words, tags)
    place = names.index("text")
    parsed = [
        _from_spans(f"{table.path}:{line}", row[place], row[tags])
        for row, line in zip(table.rows, table.lines, strict=True)
    ]
    texts, spans, of_words = ([row[i] for row in parsed] for i in range(3))
    return TaggedSplit(texts, spans, of_words, name, list(table.lines), table.path)


def _named(table: Table, argument: str, chosen: int | str | None, usual: Sequence[str]) -> int | None:
    names = list(table.names or ())
    if chosen is None:
        return next((names.index(name) for name in usual if name in names), None)
    if chosen not in names:
        raise TransformerError(
            f"{argument} must be one of the columns of {table.path}, {', '.join(names)}; got {chosen!r}"
            f"{near_miss(str(chosen), names)}"
        )
    return names.index(str(chosen))


def _from_word_lists(table: Table, name: str, words: int, tags: int) -> TaggedSplit:
    for row, line in zip(table.rows, table.lines, strict=True):
        for cells in (row[words], row[tags]):
            if not isinstance(cells, list) or not all(isinstance(cell, str) and cell for cell in cells):
                raise TransformerError(
                    f"{table.path}:{line}: words and tags must be lists of strings that are not empty; got {_shown(cells)}"
                )
        if len(row[words]) != len(row[tags]):
            raise TransformerError(
                f"{table.path}:{line}: tags must be one for each of the {len(row[words])} words; got {len(row[tags])}"
            )
    return TaggedSplit.from_words(
        [[well_formed(word) for word in row[words]] for row in table.rows],
        [row[tags] for row in table.rows],
        name=name,
        rows=list(table.lines),
        source=table.path,
    )


def _from_spans(where: str, text: Any, entities: Any) -> tuple[str, list[tuple[int, int]], tuple[str, ...]]:
    """A text, the places of its words and their tags."""
    if not isinstance(text, str) or not isinstance(entities, list):
        got = _shown(entities) if isinstance(text, str) else _shown(text)
        raise TransformerError(
            f"{where}: a row must be a text and a list of spans, empty where there is none; got {got}"
        )
    text = well_formed(text)
    spans = sorted(_span(where, entity, len(text)) for entity in entities)
    for before, after in zip(spans, spans[1:], strict=False):
        if after[0] < before[1]:
            raise TransformerError(f"{where}: spans must not overlap; got {before} and {after}")
    borders = sorted({0, len(text), *(border for span in spans for border in span[:2])})
    words, tags = [], []
    inside = {start: (end, label) for start, end, label in spans}
    for start, end in zip(borders, borders[1:], strict=False):
        found = split_words(text, start, end)
        label = inside[start][1] if start in inside else ""
        if label and not found:
            raise TransformerError(f"{where}: spans must hold a word; got {(start, end, label)}")
        words += found
        tags += [f"B-{label}", *[f"I-{label}"] * (len(found) - 1)] if label else ["O"] * len(found)
    return text, words, tuple(tags)


def _span(where: str, entity: Any, length: int) -> tuple[int, int, str]:
    values = [entity.get(key) for key in ("start", "end", "label")] if isinstance(entity, dict) else entity
    try:
        start, end, label = values
        start, end = int(start), int(end)
    except (TypeError, ValueError):
        label = None
    if not isinstance(label, str) or not label.strip():
        rule = '{"start": 0, "end": 4, "label": "NAME"} or [0, 4, "NAME"]'
        raise TransformerError(f"{where}: a span must be like {rule}; got {_shown(entity)}")
    if not 0 <= start < end <= length:
        raise TransformerError(
            f"{where}: spans must be inside the {length} characters of the text and not empty; got {(start, end, label)}"
        )
    return start, end, label.strip()


def _shown(value: Any) -> str:
    return "nothing" if value is MISSING else f"{value!r:.60}"


def _from_memory(source: Any) -> dict[str, TaggedSplit]:
    if isinstance(source, TaggedSplits):
        return source.present()
    if isinstance(source, TaggedSplit):
        return {"train": source}
    if len(source) != 2:
        raise TransformerError(f"source must be (words, tags) if it is in memory; got {len(source)} items")
    return {"train": TaggedSplit.from_words(*source)}


def _split_of(path: Path) -> str | None:
    """The split whose words, set off by `_`, `-` or `.`, the name of a file holds, its ending included; no notes."""
    words = {_SPLIT_WORDS.get(word) for word in re.split(r"[_\-.\s]+", path.name.casefold())} - {None}
    return words.pop() if len(words) == 1 and path.suffix.lower() not in _NOTES else None
