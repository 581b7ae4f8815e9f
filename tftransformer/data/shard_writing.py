"""Text files to integer shards (shards.py), in memory that does not grow with the texts."""

import contextlib
import dataclasses
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tftransformer import files
from tftransformer.data import plain_text
from tftransformer.data.npy_stream import NpyStream
from tftransformer.data.shards import ARRAYS, FORMAT, META, PARTS, TEACHER_ARRAYS, file_names
from tftransformer.data.word_starts import word_starts
from tftransformer.errors import TransformerError
from tftransformer.text.base import Tokenizer

# A document without end would have to be held in memory by its readers: longer ones count as several.
SECTION_PARAGRAPHS = 64
SENTENCES_AT_ONCE = 4096


@dataclasses.dataclass(frozen=True)
class Survey:
    """Result of a first pass over the texts: their sizes, and which sections to hold out.

    Args:
        paragraphs: Number of paragraphs.
        sections: Number of sections, see `read_sections`.
        section_paragraphs: Most paragraphs of a section.
        threshold: Sections whose `_fraction_of` is at most this are held out.
    """

    paragraphs: int
    sections: int
    section_paragraphs: int
    threshold: float

    def holds_out(self, section: int) -> bool:
        """Return whether a section goes to the part `heldout`."""
        return _fraction_of(section) <= self.threshold


def survey_texts(paths: Sequence[Path], heldout_fraction: float) -> Survey:
    """Count paragraphs and sections, and choose those to hold out: at least one, never all.

    Raises:
        TransformerError: The texts are fewer than two paragraphs, or a file cannot be read.
    """
    paragraphs = sum(1 for path in paths for line in plain_text.read_paragraphs(path) if line)
    if paragraphs < 2:
        raise TransformerError(
            f"texts must hold at least two paragraphs, one of them to hold out; got {paragraphs} in {len(paths)} files"
        )
    most = min(SECTION_PARAGRAPHS, -(-paragraphs // 2))
    sections, lowest = 0, 1.0
    for _ in read_sections(paths, most):
        lowest = min(lowest, _fraction_of(sections))
        sections += 1
    highest_kept = max(_fraction_of(number) for number in range(min(sections, 1000)))
    threshold = max(heldout_fraction, lowest)
    return Survey(paragraphs, sections, most, threshold if threshold < highest_kept else lowest)


def read_sections(paths: Iterable[Path], section_paragraphs: int) -> Iterator[list[str]]:
    """The documents of text files, long ones in parts, as lists of their sentences.

    Blank lines and the ends of files end a document.
    """
    for path in paths:
        held: list[str] = []
        paragraphs = 0
        for line in plain_text.read_paragraphs(path):
            if held and (not line or paragraphs == section_paragraphs):
                yield held
                held, paragraphs = [], 0
            if line:
                held += plain_text.sentences(line)
                paragraphs += 1
        if held:
            yield held


def write_shards(
    folder: str | os.PathLike,
    paths: Sequence[Path],
    survey: Survey,
    tokenizer: Tokenizer,
    teacher_tokenizer: Tokenizer | None = None,
    *,
    about: dict[str, Any] | None = None,
    overwrite: bool = False,
    progress: Callable[[int, str], None] = lambda sections, note: None,
) -> dict[str, Any]:
    """Tokenise texts into a folder of shards; it appears whole or not at all.

    Args:
        folder: Folder to write.
        paths: Text files, see `plain_text.find_text_files`.
        survey: Result of `survey_texts` for the same files.
        tokenizer: A `text.Tokenizer`.
        teacher_tokenizer: A second one, for distillation; sentences that the two cut into different numbers of
            words are left out.
        about: More entries of meta.json.
        overwrite: Replace a folder that holds files.
        progress: Callable that takes a number of finished sections and a note.

    Returns:
        The contents of meta.json: counts of each part, checksums, tokenizers.

    Raises:
        TransformerError: A file is damaged, the tokenizers mark words in different ways, or the disk refuses.
    """
    if teacher_tokenizer is not None and teacher_tokenizer.kind != tokenizer.kind:
        raise TransformerError(
            f"the teacher's tokenizer must be of the student's kind, {tokenizer.kind}, to have the same words; "
            f"got {teacher_tokenizer.kind}"
        )
    with files.atomic_folder(folder, overwrite=overwrite) as new:
        parts = {part: new / part for part in PARTS}
        with contextlib.ExitStack() as stack:
            writers = {
                part: stack.enter_context(_PartWriter(path, tokenizer, teacher_tokenizer))
                for part, path in parts.items()
            }
            for number, sentences in enumerate(read_sections(paths, survey.section_paragraphs)):
                writer = writers["heldout" if survey.holds_out(number) else "train"]
                writer.add(sentences)
                if number % 256 == 255:
                    progress(256, f"{writers['train'].counts['tokens'] / 1e6:.1f} M tokens")
        for part, writer in writers.items():
            if not writer.counts["tokens"]:
                raise TransformerError(f"texts must hold words in both parts; the part {part} has none")
        meta = {
            "format": FORMAT,
            **(about or {}),
            "parts": {part: writer.counts for part, writer in writers.items()},
            "tokenizer": _write_tokenizer(new / "tokenizer", tokenizer),
            "teacher_tokenizer": teacher_tokenizer and _write_tokenizer(new / "teacher_tokenizer", teacher_tokenizer),
            "sha256": {name: files.sha256(new / name) for name in file_names(teacher_tokenizer is not None)},
        }
        files.write_json(new / META, meta)
    return meta


class _PartWriter:
    """The growing arrays of one part."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, teacher: Tokenizer | None) -> None:
        folder.mkdir()
        self.tokenizers = [tokenizer] if teacher is None else [tokenizer, teacher]
        self.starts = [word_starts(each.spec()) for each in self.tokenizers]
        names = ARRAYS if teacher is None else (*ARRAYS, *TEACHER_ARRAYS)
        self.streams = {
            name: NpyStream(folder / f"{name}.npy", "int64" if "tokens" not in name else self._dtype(name))
            for name in names
        }
        for name in names:
            if "tokens" not in name:
                self.streams[name].append([0])
        self.counts = {"documents": 0, "sentences": 0, "words": 0, "tokens": 0, "left_out_sentences": 0}
        if teacher is not None:
            self.counts["teacher_tokens"] = 0
        self.sections: list[list[str]] = []
        self.held = 0

    def _dtype(self, name: str) -> str:
        tokenizer = self.tokenizers[name.startswith("teacher")]
        return "uint16" if tokenizer.vocabulary_size <= 1 << 16 else "uint32"

    def add(self, sentences: list[str]) -> None:
        self.sections.append(sentences)
        self.held += len(sentences)
        if self.held >= SENTENCES_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Tokenise what is held and write it."""
        if not self.held:
            return
        texts = [sentence for section in self.sections for sentence in section]
        firsts = np.cumsum([0, *map(len, self.sections)])
        rows = [_tokenize(tokenizer, texts, firsts) for tokenizer in self.tokenizers]
        words = [_count_words(*row, starts) for row, starts in zip(rows, self.starts, strict=True)]
        kept = (words[0] > 0) & (words[0] == words[-1])
        for (ids, splits), prefix in zip(rows, ("", "teacher_"), strict=False):
            lengths = np.diff(splits)
            self.streams[f"{prefix}tokens"].append(ids[np.repeat(kept, lengths)])
            self._append_ends(f"{prefix}sentences", f"{prefix}tokens", lengths[kept])
        in_sections = np.add.reduceat(kept.astype("int64"), firsts[:-1])
        in_sections = in_sections[in_sections > 0]
        self._append_ends("documents", "sentences", in_sections)
        self.counts["documents"] += len(in_sections)
        self.counts["words"] += int(words[0][kept].sum())
        self.counts["left_out_sentences"] += int((words[0] != words[-1]).sum())
        self.sections, self.held = [], 0

    def _append_ends(self, name: str, counted: str, lengths: np.ndarray) -> None:
        self.streams[name].append(self.counts[counted] + np.cumsum(lengths))
        self.counts[counted] += int(lengths.sum())

    def __enter__(self) -> "_PartWriter":
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None:
            self.flush()
        for stream in self.streams.values():
            stream.close()


def _tokenize(tokenizer: Tokenizer, texts: list[str], firsts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if tokenizer.kind == "byte_bpe":
        # The space before a word is part of the word there, and only the first sentence of a text has none.
        opening = set(firsts.tolist())
        texts = [text if number in opening else f" {text}" for number, text in enumerate(texts)]
    ragged = tokenizer.tokenize([text.encode("utf-8", "replace") for text in texts])
    return ragged.values.numpy(), ragged.row_splits.numpy()


def _count_words(ids: np.ndarray, splits: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Words of each sentence; a sentence starts a word whatever its first token is."""
    begins = starts[ids]
    begins[splits[:-1][np.diff(splits) > 0]] = True
    return np.diff(np.concatenate([[0], np.cumsum(begins)])[splits])


def _write_tokenizer(folder: Path, tokenizer: Tokenizer) -> dict[str, Any]:
    spec = tokenizer.spec()
    folder.mkdir()
    for name, data in spec.files.items():
        files.write_bytes(folder / name, data)
    return {"kind": spec.kind, "settings": dict(spec.settings), "vocabulary_size": len(spec.vocabulary)}


def _fraction_of(section: int) -> float:
    """A number between 0 and 1 that looks random and is always the same for a section."""
    return zlib.crc32(f"section {section}".encode()) / 2**32
