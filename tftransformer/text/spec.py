"""A tokenizer as plain data: what a checkpoint says about it, before any of it is compiled."""

import base64
import dataclasses
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tftransformer.errors import TransformerError, check_choice


class Kind(NamedTuple):
    """Location of a tokenizer's class, by name: modules load on first use, because they need TensorFlow.

    `module` and `name` are the class's; `files` are those it is stored in; `parser` is "module:function",
    plain Python from the contents of those files to the vocabulary.
    """

    module: str
    name: str
    files: tuple[str, ...]
    parser: str


KINDS: dict[str, Kind] = {
    "wordpiece": Kind("wordpiece", "WordPieceTokenizer", ("vocab.txt",), "vocabulary:parse_vocabulary"),
    "byte_bpe": Kind(
        "byte_bpe", "ByteBPETokenizer", ("vocab.json", "merges.txt"), "byte_bpe_files:parse_vocabulary_json"
    ),
    "character_bpe": Kind(
        "character_bpe", "CharacterBPETokenizer", ("vocab.json", "merges.txt"), "byte_bpe_files:parse_vocabulary_json"
    ),
    "sentencepiece": Kind(
        "sentencepiece", "SentencePieceTokenizer", ("spiece.model",), "sentencepiece_model:parse_pieces"
    ),
}


@dataclasses.dataclass(frozen=True)
class TokenizerSpec:
    """Everything that makes a tokenizer, without TensorFlow.

    Args:
        kind: One of `KINDS`.
        vocabulary: The tokens in order of their ids.
        settings: Keyword arguments of the class, as JSON values.
        files: Contents of the files that it is stored in, by name ("vocab.txt", "merges.txt", ...).

    Example:
        >>> pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hi"]
        >>> spec = TokenizerSpec("wordpiece", tuple(pieces), {}, {"vocab.txt": "\\n".join(pieces).encode()})
        >>> spec.build().encode("Hi")
        [5]
    """

    kind: str
    vocabulary: tuple[str, ...]
    settings: Mapping[str, Any]
    files: Mapping[str, bytes]

    def build(self) -> Any:
        """The `Tokenizer`.

        Raises:
            TransformerError: The kind or a setting is unknown, or the files are damaged.
        """
        kind = _known(self.kind)
        return getattr(_module(kind.module), kind.name).from_files(self.settings, self.files)

    def spec(self) -> "TokenizerSpec":
        """Itself: saving takes a `Tokenizer` or what is stored of one."""
        return self

    def to_config(self) -> dict[str, Any]:
        """As JSON values; `from_config` reads it back."""
        files = {name: base64.b64encode(data).decode("ascii") for name, data in self.files.items()}
        return {"kind": self.kind, "vocabulary": list(self.vocabulary), "settings": dict(self.settings), "files": files}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "TokenizerSpec":
        """The inverse of `to_config`."""
        files = {name: base64.b64decode(data) for name, data in config["files"].items()}
        return cls(config["kind"], tuple(config["vocabulary"]), dict(config["settings"]), files)


def read_spec(folder: str | os.PathLike, kind: str, settings: Mapping[str, Any]) -> TokenizerSpec:
    """A tokenizer from the files that `Tokenizer.files` named, in a folder."""
    known = _known(kind)
    files = {}
    for name in known.files:
        path = Path(folder) / name
        if not path.is_file():
            raise TransformerError(f"vocabulary must be a file that exists; got {path}")
        files[name] = path.read_bytes()
    module, _, function = known.parser.partition(":")
    first = known.files[0]
    vocabulary = getattr(_module(module), function)(files[first], str(Path(folder) / first))
    return TokenizerSpec(kind, vocabulary, dict(settings), files)


def _known(kind: str) -> Kind:
    check_choice("tokenizer kind", kind, KINDS)
    return KINDS[kind]


def _module(name: str) -> Any:
    return importlib.import_module(f"tftransformer.text.{name}")
