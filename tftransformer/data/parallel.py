"""Pairs of a source and a target text: parallel files, tables, TFDS; their splits, and what is odd about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tftransformer.data.dedup import normalize_for_dedup, well_formed
from tftransformer.data.loading import READERS
from tftransformer.data.readers.columns import Table, position
from tftransformer.data.readers.labelled import text_of
from tftransformer.data.readers.text_file import existing_path, read_text, split_lines
from tftransformer.data.split import Split, Splits
from tftransformer.data.split_files import SPLIT_WORDS, word_of_split
from tftransformer.errors import TransformerError
from tftransformer.progress import say

# Names of the columns of texts and of their summaries, the surest first.
SOURCES = ("article", "document", "dialogue", "source", "text", "email_body", "body", "content", "abstract")
TARGETS = ("summary", "highlights", "tldr", "target", "abstract", "subject_line", "headline", "title")
# A pair one side of which has so many times the characters of the other is hardly a translation.
LARGEST_RATIO = 4.0
# Below so many characters a ratio says nothing.
_SHORT = 20


def load_pairs(
    data: str | Path,
    source: str | None,
    target: str | None,
    *,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    seed: int = 0,
    data_dir: str | None = None,
) -> Splits:
    """Train, validation and test splits of pairs, without pairs of which a side is empty.

    Args:
        data: A folder of parallel text files such as train.en and train.de, line by line, or with one CSV, TSV, JSONL or
            Parquet file for each split; one such file; or "tfds:NAME/CONFIG", prepared before.
        source, target: Endings of the files ("en", "de"), or names of the columns. None: the first column that is called
            as those of texts and of summaries are (`SOURCES`, `TARGETS`), which a line tells.
        validation_fraction, test_fraction: Fractions of the training pairs that become a missing split; 0 cuts none.
        seed: Random seed of the cut, which keeps pairs of one source text on one side.
        data_dir: Folder of the TFDS data sets.

    Returns:
        Splits whose texts are pairs (source, target) and whose targets are None. A source that is a list is one text in
        sentences; a target that is a list has several texts of people, each of which makes a pair to train on; the other
        splits have the first of them in their pairs, and all in `references`.

    Raises:
        TransformerError: No such data, files of unlike numbers of lines, or columns that are not there.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "train.en").write_text("a house\\na dog\\n")
        >>> _ = (folder / "train.de").write_text("ein Haus\\nein Hund\\n")
        >>> splits = load_pairs(folder, "en", "de", validation_fraction=0, test_fraction=0)
        >>> splits.train.texts[1]
        ('a dog', 'ein Hund')
    """
    if source is not None and source == target:
        raise TransformerError(f"target must be another than source; got {target!r} for both")
    for name, fraction in (("validation_fraction", validation_fraction), ("test_fraction", test_fraction)):
        if not 0 <= fraction < 0.5:
            raise TransformerError(f"{name} must be at least 0 and below 0.5; got {fraction}")
    found = _read(data, source, target, data_dir)
    if "train" not in found:
        raise TransformerError(f"{data} has no training pairs; it has {', '.join(found)}")
    rng = np.random.default_rng(seed)
    train = found["train"]
    rows = len(train)
    for name, fraction in (("test", test_fraction), ("validation", validation_fraction)):
        if name not in found and fraction:
            train, found[name] = _cut(train, max(1, round(fraction * rows)), name, rng)
    if not len(train):
        raise TransformerError(f"{data} must have pairs to train on; it has {rows} in all")
    return Splits(_spread(train), found.get("validation"), found.get("test"))


def load_sources(path: str | Path, source: str | None = None) -> list[str]:
    """The texts of a CSV, TSV, JSONL or Parquet file to write others for.

    Args:
        path: The file.
        source: As for `load_pairs`.

    Raises:
        TransformerError: No such file or column, or an empty text.
    """
    table = _table(existing_path(path, "texts"))
    place = _place(table, "source", source, SOURCES)
    texts = [_text(row[place], *_where(table, line, place)) for row, line in zip(table.rows, table.lines, strict=True)]
    for text, line in zip(texts, table.lines, strict=True):
        if not text:
            raise TransformerError(f"{table.path}:{line}: {table.names[place]!r} must hold a text; it is empty")
    return texts


def _read(data: str | Path, source: str | None, target: str | None, data_dir: str | None) -> dict[str, Split]:
    if str(data).startswith("tfds:"):
        from tftransformer.data.readers.tfds import read_tfds_tables

        tables = read_tfds_tables(str(data).removeprefix("tfds:"), data_dir=data_dir)
        return {name: _from_table(table, name, source, target) for name, table in tables.items()}
    path = existing_path(data, "dataset")
    if not path.is_dir():
        return {"train": _from_table(_table(path), "train", source, target)}
    sides = {language: _by_split(path, f".{language}") for language in (source, target) if language is not None}
    if source is not None and target is not None and (sides[source] or sides[target]):
        return {name: _from_files(name, sides, source, target, path) for name in SPLIT_ORDER if name in sides[source]}
    files = [file for file in sorted(path.iterdir()) if file.suffix.lower() in READERS]
    tables = {name: _table(file) for file in files if (name := word_of_split(file.stem))}
    if not tables and len(files) == 1:
        tables = {"train": _table(files[0])}
    if not tables:
        raise TransformerError(
            f"{path} must have files such as {_wanted(source, target)}; it has "
            f"{', '.join(sorted(file.name for file in path.iterdir())[:10]) or 'none'}"
        )
    return {name: _from_table(table, name, source, target) for name, table in tables.items()}


def _wanted(source: str | None, target: str | None) -> str:
    if source is None or target is None:
        return "train.csv or train.jsonl, with a column of texts and one of summaries"
    return f"train.{source} and train.{target}, or train.csv with these columns"


SPLIT_ORDER = tuple(dict.fromkeys(SPLIT_WORDS.values()))


def _by_split(folder: Path, ending: str) -> dict[str, Path]:
    """The files of one side, by split."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob(f"*{ending}")):
        name = word_of_split(path.name.removesuffix(ending))
        if name is None:
            continue
        if name in found:
            raise TransformerError(f"{folder}: both {found[name].name} and {path.name} may be the {name} split")
        found[name] = path
    return found


def _from_files(name: str, sides: dict[str, dict[str, Path]], source: str, target: str, folder: Path) -> Split:
    if name not in sides[target]:
        raise TransformerError(f"{folder} has {sides[source][name].name} and no file of {target!r} beside it")
    paths = [sides[language][name] for language in (source, target)]
    lines = [split_lines(read_text(path)) for path in paths]
    # A line break at the end ends the last line.
    first, second = (part[:-1] if part and not part[-1] else part for part in lines)
    if len(first) != len(second):
        raise TransformerError(
            f"{paths[0]} and {paths[1]} must have equally many lines; they have {len(first)} and {len(second)}"
        )
    return _split(list(zip(first, second, strict=True)), name, range(1, len(first) + 1), str(paths[0]))


def _table(path: Path) -> Table:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise TransformerError(
            f"{path} must end in one of {', '.join(sorted(READERS))}; got {path.suffix or 'no extension'!r}"
        )
    table = reader(path)
    return table.without_header() if table.names is None else table


def _from_table(table: Table, name: str, source: str | None, target: str | None) -> Split:
    named = None if target is None else _place(table, "target", target, TARGETS)
    first = _place(table, "source", source, SOURCES, taken=named)
    second = _place(table, "target", None, TARGETS, taken=first) if named is None else named
    if name == "train" and (source is None or target is None):
        say(f"{table.path}: texts are in the column {table.names[first]!r}, summaries in {table.names[second]!r}")
    pairs, references = [], []
    for row, line in zip(table.rows, table.lines, strict=True):
        found = _references(row[second], *_where(table, line, second))
        pairs.append((_text(row[first], *_where(table, line, first)), found[0] if found else ""))
        references.append(found)
    several = references if any(len(found) > 1 for found in references) else None
    return _split(pairs, name, table.lines, table.path, several)


def _place(table: Table, argument: str, column: str | None, usual: Sequence[str], taken: int | None = None) -> int:
    """The place of a column: of this name, or the first with a usual one."""
    if column is not None:
        place = position(table, argument, column)
        if place == taken:
            raise TransformerError(f"{argument} must be another column than the other side's; got {column!r} for both")
        return place
    names = [name.strip().casefold().replace(" ", "_") for name in table.names]
    for name in usual:
        if name in names and names.index(name) != taken:
            return names.index(name)
    shown = ", ".join(table.names[:20])
    raise TransformerError(f"{argument} must be named: {table.path} has no column such as {usual[0]!r}; it has {shown}")


def _where(table: Table, line: int, place: int) -> tuple[str, str]:
    return f"{table.path}:{line}", table.names[place]


def _text(cell: Any, where: str, column: str) -> str:
    """The text of a cell, which may hold its sentences."""
    if isinstance(cell, list):
        cell = " ".join(filter(None, (text_of(part, where, column).strip() for part in cell)))
    return text_of(cell, where, column).strip()


def _references(cell: Any, where: str, column: str) -> tuple[str, ...]:
    """The texts of a cell, which may hold several, without empty ones."""
    found = (text_of(part, where, column).strip() for part in (cell if isinstance(cell, list) else [cell]))
    return tuple(filter(None, found))


def _split(
    pairs: Sequence[tuple[str, str]],
    name: str,
    lines: Sequence[int],
    path: str,
    references: Sequence[tuple[str, ...]] | None = None,
) -> Split:
    """The pairs of which both sides say something, tidied."""
    tidy = [(well_formed(first).strip(), well_formed(second).strip()) for first, second in pairs]
    kept = [row for row, (first, second) in enumerate(tidy) if first and second]
    if len(kept) < len(tidy):
        say(f"{path}: {len(tidy) - len(kept):,} of {len(tidy):,} pairs have an empty side and are left out")
    several = None if references is None else [references[row] for row in kept]
    rows = [lines[row] for row in kept]
    return Split([tidy[row] for row in kept], None, name, rows=rows, source=path, references=several)


def _spread(split: Split) -> Split:
    """A pair for each reference."""
    if split.references is None:
        return split
    rows = [row for row, found in enumerate(split.references) for _ in found]
    targets = [target for found in split.references for target in found]
    texts = [(split.texts[row][0], target) for row, target in zip(rows, targets, strict=True)]
    return dataclasses.replace(split.take(rows), texts=texts, references=None)


def _cut(split: Split, wanted: int, name: str, rng: np.random.Generator) -> tuple[Split, Split]:
    """The split without some of its sources, and the pairs of these."""
    rows_of: dict[str, list[int]] = {}
    for row, (first, _) in enumerate(split.texts):
        rows_of.setdefault(normalize_for_dedup(first), []).append(row)
    groups = list(rows_of.values())
    chosen: set[int] = set()
    for group in rng.permutation(len(groups)):
        if len(chosen) >= wanted:
            break
        chosen.update(groups[group])
    left = [row for row in range(len(split)) if row not in chosen]
    return split.take(left), dataclasses.replace(split.take(sorted(chosen)), name=name)


class LengthRule(NamedTuple):
    """Lengths that the sides of a pair hardly have: what is told of such pairs, and whether two texts are one."""

    told: str
    broken: Callable[[str, str], bool]


def _unlike(first: str, second: str) -> bool:
    shorter, longer = sorted((len(first), len(second)))
    return longer >= _SHORT and longer > LARGEST_RATIO * shorter


# Of translations, and of summaries.
ALIKE = LengthRule(f"of which one side has over {LARGEST_RATIO:g} times the characters of the other", _unlike)
SHORTER = LengthRule("whose target is longer than its source", lambda first, second: len(second) > len(first))


@dataclasses.dataclass(frozen=True)
class PairReport:
    """Statistics of parallel data; `print` shows them.

    Attributes:
        rows: Number of pairs by split.
        lengths: By split the median and the largest number of tokens of sources, and of targets.
        cut: By split the number of sources that are longer than the model takes, and of targets.
        lost: By split the fraction of all tokens of sources that are cut off, and of those of targets.
        unlike: By split the number of pairs whose lengths are unusual for such pairs.
        same: By split the number of pairs whose sides are the same text.
        leaked: By split the number of pairs whose source is also in the training pairs.
        rule: Description of the `unlike` pairs.
    """

    rows: dict[str, int]
    lengths: dict[str, tuple[int, int, int, int]]
    cut: dict[str, tuple[int, int]]
    lost: dict[str, tuple[float, float]]
    unlike: dict[str, int]
    same: dict[str, int]
    leaked: dict[str, int]
    rule: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        lines = []
        for name, count in self.rows.items():
            median, longest, target_median, target_longest = self.lengths[name]
            lines.append(
                f"{name}: {count:,} pairs; tokens: sources {median} (at most {longest}), targets {target_median} "
                f"(at most {target_longest})"
            )
            for side, number, lost in zip(("sources", "targets"), self.cut[name], self.lost[name], strict=True):
                if number:
                    lines.append(
                        f"  {number:,} {side} longer than the model takes, cut: {lost:.1%} of the tokens of {side} lost"
                    )
            odd = {
                self.rule: self.unlike[name],
                "of which both sides are one text": self.same[name],
                "whose source is among the training pairs, too": self.leaked.get(name, 0),
            }
            lines.extend(f"  {number:,} {what}" for what, number in odd.items() if number)
        return "\n".join(lines)


def check_pairs(
    splits: Splits,
    lengths: dict[str, tuple[np.ndarray, np.ndarray]],
    longest: tuple[int, int],
    rule: LengthRule = ALIKE,
) -> PairReport:
    """Look at parallel data.

    Args:
        splits: Splits of pairs.
        lengths: By split the number of tokens, special ones included, of each source and each target, before any cut.
        longest: Largest numbers of tokens that the model takes of a source and of a target.
        rule: Lengths that the pairs hardly have.

    Example:
        >>> splits = Splits(Split([("a dog", "ein Hund"), ("b", "b")], None), None, None)
        >>> counts = {"train": (np.array([4, 3]), np.array([3, 2]))}
        >>> print(check_pairs(splits, counts, (8, 2)))
        train: 2 pairs; tokens: sources 3 (at most 4), targets 2 (at most 3)
          1 targets longer than the model takes, cut: 20.0% of the tokens of targets lost
          1 of which both sides are one text
    """
    present = splits.present()
    known = {normalize_for_dedup(first) for first, _ in splits.train.texts}
    report = PairReport({name: len(split) for name, split in present.items()}, {}, {}, {}, {}, {}, {}, rule.told)
    for name, split in present.items():
        sides = tuple(zip(lengths[name], longest, strict=True))
        report.lengths[name] = tuple(int(value) for part, _ in sides for value in (np.median(part), part.max()))
        report.cut[name] = tuple(int((part > most).sum()) for part, most in sides)
        report.lost[name] = tuple(float(np.maximum(part - most, 0).sum() / part.sum()) for part, most in sides)
        report.unlike[name] = sum(rule.broken(*pair) for pair in split.texts)
        report.same[name] = sum(first == second for first, second in split.texts)
        if name != "train":
            report.leaked[name] = sum(normalize_for_dedup(first) in known for first, _ in split.texts)
    return report
