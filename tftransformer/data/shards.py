"""Integer shards: tokenised texts on disk, from which pretraining reads through NumPy alone.

A folder holds `meta.json`, the tokenizer's files and the parts `train` and `heldout`. Of each part there are

- `tokens.npy`: the token ids of all its texts, one after the other;
- `sentences.npy`: where each sentence starts in `tokens`, and the end (sentence here means a short stretch
  of text that may stand alone or be continued by the next one);
- `documents.npy`: where each document starts in `sentences`, and the end.

Shards for distillation also hold `teacher_tokens.npy` and `teacher_sentences.npy`: the same sentences in the
teacher's vocabulary. Each sentence has as many words there as here, so that words can be matched by number.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tftransformer import files
from tftransformer.errors import TransformerError
from tftransformer.text.spec import TokenizerSpec, read_spec

FORMAT = 1
META = "meta.json"
# Arrays are read in pieces of so many values: memory must not grow with them.
_AT_ONCE = 1 << 22
PARTS = ("train", "heldout")
ARRAYS = ("tokens", "sentences", "documents")
TEACHER_ARRAYS = ("teacher_tokens", "teacher_sentences")


@dataclasses.dataclass(frozen=True)
class Part:
    """The arrays of one part, memory-mapped; see the module."""

    tokens: np.ndarray
    sentences: np.ndarray
    documents: np.ndarray
    teacher_tokens: np.ndarray | None = None
    teacher_sentences: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Shards:
    """A checked folder of shards.

    Args:
        folder: Path of the folder.
        meta: Contents of meta.json.
        tokenizer: Tokenizer of `tokens`.
        teacher_tokenizer: Tokenizer of `teacher_tokens`, if the shards have them.
        parts: Parts by name.
        fingerprint: Hash of all contents.
    """

    folder: Path
    meta: Mapping[str, Any]
    tokenizer: TokenizerSpec
    teacher_tokenizer: TokenizerSpec | None
    parts: Mapping[str, Part]
    fingerprint: str


def file_names(teacher: bool) -> list[str]:
    """The array files of all parts, relative to the folder."""
    arrays = (*ARRAYS, *TEACHER_ARRAYS) if teacher else ARRAYS
    return [f"{part}/{array}.npy" for part in PARTS for array in arrays]


def open_shards(folder: str | os.PathLike, verify: bool = True) -> Shards:
    """Open a folder that `write_shards` made. Needs no TensorFlow.

    Args:
        folder: The folder.
        verify: Compare the checksums of all files; a few seconds a gigabyte.

    Raises:
        TransformerError: There are no shards, or they are damaged or of a later version.
    """
    folder = Path(folder).expanduser()
    meta = _read_meta(folder)
    names = file_names(meta["teacher_tokenizer"] is not None)
    for name in names:
        _check_file(folder, name, meta["sha256"].get(name), verify)
    parts = {}
    for part in PARTS:
        arrays = {Path(name).stem: _read_array(folder / name) for name in names if Path(name).parent.name == part}
        parts[part] = _check_part(Part(**arrays), folder / part)
    tokenizer = _read_tokenizer(folder, "tokenizer", meta["tokenizer"])
    _check_ids(folder, tokenizer, parts, "tokens")
    teacher = None
    if meta["teacher_tokenizer"] is not None:
        teacher = _read_tokenizer(folder, "teacher_tokenizer", meta["teacher_tokenizer"])
        _check_ids(folder, teacher, parts, "teacher_tokens")
    digests = " ".join(str(meta["sha256"][name]) for name in names)
    fingerprint = hashlib.sha256(digests.encode()).hexdigest()[:16]
    return Shards(folder, meta, tokenizer, teacher, parts, fingerprint)


def _read_meta(folder: Path) -> dict[str, Any]:
    path = folder / META
    if not path.is_file():
        raise TransformerError(f"shards must be a folder that `pretrain.py prepare` made; {folder} has no {META}")
    try:
        meta = json.loads(path.read_text("utf-8"))
        version = meta["format"]
        known = {"tokenizer": dict, "sha256": dict, "teacher_tokenizer": (dict, type(None))}
        damaged = any(not isinstance(meta[name], kind) for name, kind in known.items())
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        version, damaged = None, True
    if version not in (None, FORMAT):
        raise TransformerError(f"shards {folder} have format {version!r}; this version reads format {FORMAT}")
    if damaged:
        raise TransformerError(f"shards {folder} are damaged: {META} does not say what it should")
    return meta


def _check_file(folder: Path, name: str, stated: Any, verify: bool) -> None:
    path = folder / name
    if not path.is_file():
        raise TransformerError(f"shards {folder} are damaged: {name} is missing")
    if verify and files.sha256(path) != stated:
        raise TransformerError(f"shards {folder} are damaged: {name} is not what was written (SHA-256 differs)")


def _read_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise TransformerError(f"shards are damaged: {path} is no .npy file ({error})") from None
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TransformerError(f"shards are damaged: {path} must hold one row of integers")
    return array


def _check_part(part: Part, where: Path) -> Part:
    """Offsets must lie inside the arrays they point into."""
    pairs = [("sentences", part.sentences, len(part.tokens)), ("documents", part.documents, len(part.sentences) - 1)]
    if part.teacher_tokens is not None:
        pairs.append(("teacher_sentences", part.teacher_sentences, len(part.teacher_tokens)))
    for name, offsets, end in pairs:
        rises = all((np.diff(some.astype("int64")) >= 0).all() for some in _pieces(offsets, overlap=1))
        if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != end or not rises:
            raise TransformerError(f"shards are damaged: {where}/{name}.npy must rise from 0 to {end}")
    if part.teacher_tokens is not None and len(part.teacher_sentences) != len(part.sentences):
        raise TransformerError(f"shards are damaged: {where} has not as many teacher_sentences as sentences")
    return part


def _read_tokenizer(folder: Path, name: str, stated: Mapping[str, Any]) -> TokenizerSpec:
    kinds = {"kind": str, "settings": dict, "vocabulary_size": int}
    if any(not isinstance(stated.get(entry), kind) for entry, kind in kinds.items()):
        raise TransformerError(f"shards {folder} are damaged: {META} does not describe the {name}")
    spec = read_spec(folder / name, stated["kind"], stated["settings"])
    if len(spec.vocabulary) != stated["vocabulary_size"]:
        raise TransformerError(
            f"shards are damaged: {folder / name} must hold {stated['vocabulary_size']} tokens; it holds "
            f"{len(spec.vocabulary)}"
        )
    return spec


def _check_ids(folder: Path, spec: TokenizerSpec, parts: Mapping[str, Part], array: str) -> None:
    size = len(spec.vocabulary)
    for part, arrays in parts.items():
        for ids in _pieces(getattr(arrays, array)):
            if ids.min() < 0 or ids.max() >= size:
                worst = int(ids.max() if ids.max() >= size else ids.min())
                raise TransformerError(
                    f"shards {folder} are damaged: {part}/{array}.npy must hold ids of {size} tokens; it holds {worst}"
                )


def _pieces(array: np.ndarray, overlap: int = 0) -> Iterator[np.ndarray]:
    for start in range(0, len(array), _AT_ONCE):
        yield array[start : start + _AT_ONCE + overlap]
