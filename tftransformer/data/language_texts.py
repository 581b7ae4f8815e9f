"""Texts for language models: plain text files as texts, or prompts and chats with answers as pairs; their splits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tftransformer.data.chat import chats_of
from tftransformer.data.dedup import normalize_for_dedup, well_formed
from tftransformer.data.loading import READERS, word_of_split
from tftransformer.data.readers.text_file import existing_path, read_text, split_lines
from tftransformer.data.split import Split, Splits
from tftransformer.errors import TransformerError, check_choice
from tftransformer.progress import say

UNITS = ("paragraph", "line", "file")
# Files of rows; all others of these endings are plain text.
TABLES = tuple(ending for ending in READERS if ending != ".txt")
PLAIN = (".txt", ".tokens", ".raw", ".text")


def load_language_texts(
    data: str | Path,
    *,
    unit: str = "paragraph",
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    seed: int = 0,
) -> Splits:
    """Train, validation and test splits of plain texts, or of pairs (prompt or history, answer).

    Args:
        data: A text file (.txt, .tokens, .raw, .text); a JSONL, CSV or TSV file with the columns `prompt` and `answer`, or
            `messages` (`data.chat`); or a folder of one kind of them, where a word in a file's name (train, valid, test …)
            says which split it is. Files of a folder without any such word are all for training.
        unit: Unit that is one text of a text file: a "paragraph" (up to a blank line), a "line", or the "file".
        validation_fraction, test_fraction: Fraction of the training data that becomes a missing split; 0 cuts none. Text
            files lose their ends, so that no neighbours are parted; rows are drawn, those of one prompt or chat together.
        seed: Random seed of the draw.

    Returns:
        Splits whose texts are strings or pairs, and whose targets are None. Where there is no training file but one for
        validation, that is trained on, and a line says so.

    Raises:
        TransformerError: No such data, files of both kinds, an empty file, or a row that is no chat.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "fable.txt"
        >>> _ = path.write_text("A fox saw grapes.\\n\\nThey hung high.\\n")
        >>> load_language_texts(path, validation_fraction=0, test_fraction=0).train.texts
        ['A fox saw grapes.', 'They hung high.']
    """
    check_choice("unit", unit, UNITS)
    for name, fraction in (("validation_fraction", validation_fraction), ("test_fraction", test_fraction)):
        if not 0 <= fraction < 0.5:
            raise TransformerError(f"{name} must be at least 0 and below 0.5; got {fraction}")
    path = existing_path(data, "dataset")
    files = _files(path)
    kinds = {_is_table(file) for group in files.values() for file in group}
    if len(kinds) > 1:
        raise TransformerError(f"{path} must hold text files, or files of prompts and answers; it holds both")
    missing = {
        name: fraction
        for name, fraction in (("validation", validation_fraction), ("test", test_fraction))
        if name not in files and fraction
    }
    found = _pairs(files, missing, seed) if kinds == {True} else _texts(files, missing, unit)
    if not len(found["train"]):
        raise TransformerError(f"{path} must have texts to train on; it has too few to leave some")
    return Splits(found["train"], found.get("validation"), found.get("test"))


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in TABLES


def _files(path: Path) -> dict[str, list[Path]]:
    """The files of each split."""
    if not path.is_dir():
        if path.suffix.lower() not in (*PLAIN, *TABLES):
            raise TransformerError(
                f"{path} must end in one of {', '.join((*PLAIN, *TABLES))}; got {path.suffix or 'no extension'!r}"
            )
        return {"train": [path]}
    inside = [file for file in sorted(path.iterdir()) if file.is_file() and file.suffix.lower() in (*PLAIN, *TABLES)]
    if not inside:
        there = ", ".join(sorted(file.name for file in path.iterdir())[:10]) or "none"
        raise TransformerError(f"{path} must have files such as train.txt or train.jsonl; it has {there}")
    found: dict[str, list[Path]] = {}
    for file in inside:
        if name := word_of_split(file.stem):
            found.setdefault(name, []).append(file)
    if not found:
        return {"train": inside}
    for name, group in found.items():
        if len(group) > 1:
            raise TransformerError(f"{path}: both {group[0].name} and {group[1].name} may be the {name} split")
    if "train" not in found:
        if "validation" not in found:
            raise TransformerError(f"{path} must have a file to train on; it has {', '.join(f.name for f in inside)}")
        found["train"] = found.pop("validation")
        say(f"{path} has no file to train on: {found['train'][0].name} is trained on in its place")
    return found


def _texts(files: Mapping[str, list[Path]], missing: dict[str, float], unit: str) -> dict[str, Split]:
    parts: dict[str, list[str]] = {name: [] for name in (*files, *missing)}
    for name, group in files.items():
        for file in group:
            lines = split_lines(read_text(file))
            if name == "train":
                for other, fraction in reversed(missing.items()):
                    lines, end = _without_end(lines, fraction, unit)
                    parts[other].extend(_units(end, unit))
            parts[name].extend(_units(lines, unit))
    source = str(files["train"][0])
    return {name: Split(texts, None, name, source=source) for name, texts in parts.items()}


def _without_end(lines: list[str], fraction: float, unit: str) -> tuple[list[str], list[str]]:
    """Lines in two, of which the second has about this fraction of the characters; paragraphs stay whole."""
    sizes = np.cumsum([len(line) + 1 for line in lines])
    place = int(np.searchsorted(sizes, (1 - fraction) * sizes[-1])) + 1
    if unit == "paragraph":
        while place < len(lines) and lines[place - 1].strip():
            place += 1
    return lines[:place], lines[place:]


def _units(lines: list[str], unit: str) -> list[str]:
    if unit == "line":
        texts = lines
    elif unit == "file":
        texts = ["\n".join(lines)]
    else:
        texts = "\n".join(line if line.strip() else "" for line in lines).split("\n\n")
    return [well_formed(text).strip() for text in texts if text.strip()]


def _pairs(files: Mapping[str, list[Path]], missing: dict[str, float], seed: int) -> dict[str, Split]:
    chats: dict[str, list[list[tuple[str, str]]]] = {name: [] for name in files}
    for name, group in files.items():
        for file in group:
            table = READERS[file.suffix.lower()](file)
            table = table.without_header() if table.names is None else table
            chats[name].extend(chat for chat in chats_of(table) if chat)
    rng = np.random.default_rng(seed)
    rows = len(chats["train"])
    for name, fraction in reversed(missing.items()):
        chats["train"], chats[name] = _drawn(chats["train"], max(1, round(fraction * rows)), rng)
    source = str(files["train"][0])
    return {
        name: Split([pair for chat in part for pair in chat], None, name, source=source) for name, part in chats.items()
    }


def _drawn(chats: list, wanted: int, rng: np.random.Generator) -> tuple[list, list]:
    """Chats without some, and these; chats whose last history is one text stay together."""
    groups: dict[str, list[int]] = {}
    for row, chat in enumerate(chats):
        groups.setdefault(normalize_for_dedup(chat[-1][0]), []).append(row)
    rows = list(groups.values())
    chosen: set[int] = set()
    for group in rng.permutation(len(rows)):
        if len(chosen) >= wanted:
            break
        chosen.update(rows[group])
    return [chat for row, chat in enumerate(chats) if row not in chosen], [chats[row] for row in sorted(chosen)]
