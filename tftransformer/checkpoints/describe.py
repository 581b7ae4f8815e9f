"""Description of a preset on one screen: sizes, vocabulary, parameters, memory, heads, source and licence."""

import dataclasses
import glob
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tftransformer.checkpoints.assign import stored_addresses
from tftransformer.checkpoints.folders import read_json, read_optional_json
from tftransformer.checkpoints.preset import Preset
from tftransformer.checkpoints.presets import load_preset
from tftransformer.checkpoints.rules import DECODER_TOKEN_TABLE, TOKEN_TABLE
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.models.families.family import TOKENIZER_TITLES
from tftransformer.text.spec import TokenizerSpec

_ORIGINS = {
    "tftransformer": "saved by this project",
    "huggingface": "in Hugging Face's layout",
    "keras_hub": "loaded through keras-hub",
    "file": "a file by itself",
    "tensorflow": "a TensorFlow checkpoint",
}
# In the order of the data's way.
_PARTS = ("embeddings", "blocks", "pooler", "head", "decoder embeddings", "decoder blocks", "lm_head")
_BYTES = {"float32": 4, "bfloat16": 2}


@dataclasses.dataclass(frozen=True)
class Description:
    """A preset in figures; `print` it.

    Args:
        name: Name that the caller asked for.
        origin: Origin of the preset, as in `Preset`.
        config: The encoder's sizes and choices.
        tokens: Tokens of the vocabulary; the embeddings may have more rows, `config.vocabulary_size`.
        tokenizer: Algorithm of the tokenizer and its treatment of case, such as "WordPiece, uncased".
        parameters: Stored numbers by part ("embeddings", "blocks", "pooler", "head", ...), and their "total".
        memory: Bytes of all weights, by dtype.
        pooling: "cls", "mean" or "max".
        pooler: Whether BERT's dense layer for the first token is there.
        labels: Labels of the classification head; None where there is none.
        multi_label: Whether a text may have several of them.
        dtype: Dtype of the stored weights.
        files: Bytes of the files of the weights, by name; empty where they are in memory.
        folder: Folder of the files.
        licence: Licence that its folder states; None where it does not.
        changes: Changes of an adapted checkpoint, a line each.
    """

    name: str
    origin: str
    config: TransformerConfig
    tokens: int
    tokenizer: str
    parameters: Mapping[str, int]
    memory: Mapping[str, int]
    pooling: str
    pooler: bool
    labels: tuple[str, ...] | None
    multi_label: bool
    dtype: str
    files: Mapping[str, int]
    folder: str | None
    licence: str | None
    changes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain JSON values."""
        return {**dataclasses.asdict(self), "config": self.config.to_dict(), "changes": list(self.changes)}

    def __str__(self) -> str:
        lines = [
            ("family", self.config.family),
            ("layers", _layers(self.config)),
            ("input", _input(self.config)),
            ("vocabulary", f"{_rows(self.tokens, self.config.vocabulary_size)}; {self.tokenizer}"),
            ("parameters", _parameters(self.parameters, self.config, self.pooler)),
            ("memory", _memory(self.memory)),
            *(self._of_encoders() if "blocks" in self.parameters else ()),
            ("source", _source(self)),
            *([] if self.folder is None else [("folder", self.folder)]),
            ("licence", self.licence or "not stated"),
            *(("adapted", change) for change in self.changes),
        ]
        return "\n".join([self.name, *(f"  {title:<11} {text}" for title, text in lines)])

    def _of_encoders(self) -> tuple[tuple[str, str], ...]:
        behind = ", with the dense layer of BERT behind it" if self.pooler else ""
        return ("pooling", f"{self.pooling}{behind}"), ("labels", _labels(self.labels, self.multi_label))


def describe(preset: str | os.PathLike[str] | Preset) -> Description:
    """Describe a preset from its configuration and the headers of its weights, which are not read.

    (keras-hub's presets are the exception: its own loader reads them whole.)

    Args:
        preset: Name or folder that `load_preset` takes, or a `Preset`.

    Raises:
        TransformerError: As `load_preset`.

    Example:
        >>> description = describe("bert_12x192_en_uncased")
        >>> description.parameters["total"], description.memory["bfloat16"]
        (7884288, 15768576)
        >>> print(description)  # doctest: +ELLIPSIS
        bert_12x192_en_uncased
          family      bert
          layers      12 of width 192, 6 heads of 32, feed-forward 768, gelu
        ...
    """
    preset = preset if isinstance(preset, Preset) else load_preset(preset)
    stored = stored_addresses(preset.source, preset.table)
    parameters = _count(preset, stored)
    folder, files = _where(preset)
    return Description(
        name=preset.name,
        origin=preset.origin,
        config=preset.config,
        tokens=len(preset.tokenizer.vocabulary),
        tokenizer=_tokenizer(preset.tokenizer),
        parameters=parameters,
        memory={dtype: parameters["total"] * size for dtype, size in _BYTES.items()},
        pooling=preset.pooling,
        pooler=preset.pooler,
        labels=preset.labels,
        multi_label=bool({**preset.task, **preset.head}.get("multi_label", False)),
        dtype=preset.source.dtype(next(stored[name] for name in (TOKEN_TABLE, DECODER_TOKEN_TABLE) if name in stored)),
        files=files,
        folder=None if folder is None else str(folder),
        licence=None if folder is None else find_licence(folder),
        changes=getattr(preset, "changes", ()),
    )


def _count(preset: Preset, stored: Mapping[str, str]) -> dict[str, int]:
    counts = dict.fromkeys(_PARTS, 0)
    for address, key in stored.items():
        part = re.sub(r"^decoder_(?=embeddings)", "decoder ", address.split("/")[0])
        part = re.sub(r"^(encoder|decoder)_block_\d+$", r"\1 blocks", part).removeprefix("encoder ")
        counts[part] = counts.get(part, 0) + math.prod(preset.source.shape(key))
    return {**{part: count for part, count in counts.items() if count}, "total": sum(counts.values())}


def _where(preset: Preset) -> tuple[Path | None, dict[str, int]]:
    """The folder of the weights, and their files with the bytes of each."""
    path = Path(preset.source.name)
    if path.name.endswith(".index.json"):
        names = sorted(set(read_json(path)["weight_map"].values()))
        found = [path.parent / name for name in names]
    elif path.is_file():
        found = [path]
    elif any(path.parent.glob(f"{glob.escape(path.name)}.index")):
        found = sorted(path.parent.glob(f"{glob.escape(path.name)}.*"))
    else:  # keras-hub's: in memory, from the folder that was named or from its cache
        path = Path(preset.name).expanduser() / "model.weights.h5"
        if not path.parent.is_dir():
            return None, {}
        found = sorted(path.parent.glob("model*.weights.h5"))
    return path.parent, {file.name: file.stat().st_size for file in found}


def _tokenizer(spec: TokenizerSpec) -> str:
    kind = TOKENIZER_TITLES.get(spec.kind, spec.kind)
    # WordPiece alone changes case by a setting; the others leave it, or their model's own rules decide.
    lowercase = spec.settings.get("lowercase", True if spec.kind == "wordpiece" else None)
    strip = spec.settings.get("strip_accents")
    strip = lowercase if strip is None else strip
    case = {True: ["uncased"], False: ["cased"], None: []}[lowercase]
    accents = [] if lowercase is None or strip == lowercase else [f"accents {'dropped' if strip else 'kept'}"]
    return ", ".join([kind, *case, *accents])


def _layers(config: TransformerConfig) -> str:
    shared = f" that share {_plural(config.num_blocks, 'block')}" if config.num_blocks < config.num_layers else ""
    narrow = f", embeddings of width {config.embedding_dim}" if config.embedding_dim else ""
    if isinstance(config.num_heads, tuple):
        heads = f"{min(config.num_heads)} to {max(config.num_heads)} heads of {config.head_dim}"
    else:
        heads = f"{_plural(config.num_heads, 'head')} of {config.head_dim}"
    if config.num_key_value_heads != config.num_heads:
        heads += f" ({config.num_key_value_heads} for keys and values)"
    return (
        f"{config.num_layers}{shared} of width {config.hidden_dim}, {heads}, feed-forward "
        f"{config.intermediate_dim}, {config.activation}{narrow}"
    )


def _input(config: TransformerConfig) -> str:
    segments = f"; {_plural(config.num_segments, 'segment')}" if config.num_segments else ""
    return f"up to {config.max_sequence_length} tokens, {config.position} positions{segments}"


def _rows(tokens: int, rows: int) -> str:
    return f"{tokens:,} tokens" + (f" in {rows:,} rows" if rows != tokens else "")


def _parameters(counts: Mapping[str, int], config: TransformerConfig, pooler: bool) -> str:
    parts = []
    for part, count in counts.items():
        if part.endswith("blocks"):
            alike = not isinstance(config.num_heads, tuple)
            number = config.num_blocks if part == "blocks" else config.num_decoder_layers
            each = f" ({count // number:,} each)" if alike else ""
            parts.append(f"{_plural(number, part.removesuffix('s'))} {count:,}{each}")
        elif part != "total":
            unused = " (not used)" if part == "pooler" and not pooler else ""
            parts.append(f"{part} {count:,}{unused}")
    return f"{counts['total']:,}: {', '.join(parts)}"


def _memory(memory: Mapping[str, int]) -> str:
    stated = ", ".join(f"{_size(size)} in {dtype}" for dtype, size in memory.items())
    # Weights, gradients and AdamW's two moments.
    return f"{stated}; to train all of it {_size(4 * memory['float32'])} and the activations"


def _labels(labels: tuple[str, ...] | None, multi_label: bool) -> str:
    if labels is None:
        return "none: no classification head"
    shown = ", ".join(labels[:8]) + (", …" if len(labels) > 8 else "")
    return f"{len(labels)}{', several a text' if multi_label else ''}: {shown}"


def _source(description: Description) -> str:
    how = _ORIGINS.get(description.origin, description.origin)
    sizes = list(description.files.items())
    if not sizes:
        return f"{how}, in memory as {description.dtype}"
    names = sizes[0][0] if len(sizes) == 1 else f"{len(sizes)} files, {sizes[0][0]} to {sizes[-1][0]}"
    size = _size(sum(description.files.values()))
    return f"{how}: {names}, {size} of {description.dtype}"


def _size(count: int) -> str:
    for unit, power in (("GB", 9), ("MB", 6)):
        if count >= 10**power:
            return f"{count / 10**power:.1f} {unit}"
    return f"{count / 1000:.1f} kB"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


# The licence that a checkpoint's folder states; nothing is guessed.

_READ = 65536  # bytes; what is looked for is at the start
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_FIELD = re.compile(r"^licen[sc]e:[ \t]*(\S.*)?$((?:\n[ \t]*-[ \t]*\S.*$)*)", re.MULTILINE)
_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "LICENCE.md")


def find_licence(folder: Path) -> str | None:
    """The licence by its name and the file that states it, such as "apache-2.0 (README.md)"; None where there is none.

    The model card's front matter (`license:` in README.md) comes first, then `license` in preset.json, then
    the first line of a LICENSE file.
    """
    return _of_card(folder) or _of_preset(folder) or _of_file(folder)


def _of_card(folder: Path) -> str | None:
    front = _FRONT_MATTER.search(_start(folder / "README.md"))
    field = _FIELD.search(front[1]) if front else None
    if field is None:
        return None
    stated = field[1] or ", ".join(line.strip(" \t-") for line in field[2].split("\n") if line.strip())
    name = _clean(stated.strip().strip("\"'[]"))
    return f"{name} (README.md)" if name else None


def _of_preset(folder: Path) -> str | None:
    try:
        stated = read_optional_json(folder / "preset.json")
    except TransformerError:  # describing says what it can; loading says what is wrong
        return None
    name = stated.get("license", stated.get("licence"))
    return f"{_clean(name)} (preset.json)" if isinstance(name, str) and name.strip() else None


def _of_file(folder: Path) -> str | None:
    for file in _FILES:
        line = next((line.strip(" \t#") for line in _start(folder / file).splitlines() if line.strip()), None)
        if line:
            return f"{_clean(line)} ({file})"
    return None


def _start(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_READ).decode("utf-8", "replace").replace("\r\n", "\n")
    except OSError:
        return ""


def _clean(text: str) -> str:
    """One line that a terminal can show."""
    text = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return text if len(text) <= 80 else text[:80] + "…"
