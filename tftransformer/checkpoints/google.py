"""Google's own releases of BERT, ALBERT and ELECTRA: TensorFlow checkpoints with a vocabulary beside them."""

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tftransformer.checkpoints.assign import MOST_LAYERS, make_plan, stored_name
from tftransformer.checkpoints.folders import read_bytes, read_json
from tftransformer.checkpoints.huggingface.settings import config_of
from tftransformer.checkpoints.preset import Preset, check_vocabulary
from tftransformer.checkpoints.rules import TOKEN_TABLE, Ignored, Table
from tftransformer.checkpoints.sources import TensorFlowSource
from tftransformer.checkpoints.sources.tensorflow_file import find_checkpoint
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError, check_choice
from tftransformer.models.families import Family, families_of, family_of_tokenizer
from tftransformer.models.shapes import encoder_shapes
from tftransformer.text.sentencepiece_model import parse_pieces
from tftransformer.text.spec import TokenizerSpec
from tftransformer.text.vocabulary import parse_vocabulary

_QUERY = "encoder_block_{i}/attention/query/kernel"
_LATER = re.compile(r"\{([in])\+(\d+)\}")
FAMILIES: dict[str, Family] = families_of("google")


def settings_files() -> tuple[str, ...]:
    """The names of the files of settings beside such checkpoints."""
    return tuple(family.google.settings for family in FAMILIES.values() if family.google.settings)


def is_tensorflow_folder(folder: Path) -> bool:
    """Return whether a folder is, or looks like, one of Google's releases."""
    stated = any((folder / name).exists() for name in settings_files())
    return stated or any(folder.glob("*.index"))


def load_tensorflow_folder(folder: Path, name: str, *, lowercase: bool | None = None) -> Preset:
    """Read a folder as Google released it: settings, vocabulary and a TensorFlow checkpoint.

    The first generation (TensorFlow 1) of BERT, ALBERT and ELECTRA is read, and Model Garden's BERT. A
    classifier that their `run_classifier.py` trained is read with its head, of classes named LABEL_0,
    LABEL_1, ….

    Nothing in such a folder says whether text is lowercased: `guess_lowercase` tells it from the name or the
    vocabulary, and `lowercase` overrules it.

    Args:
        folder: The folder.
        name: Name that the caller used.
        lowercase: Whether the tokenizer makes text lower case. None: see above.
    """
    checkpoint = find_checkpoint(folder)
    if checkpoint is None:
        raise TransformerError(f"{folder} has no TensorFlow checkpoint: no file whose name ends in .index")
    source = TensorFlowSource(checkpoint)
    family = _family(folder, source)
    config = _config(folder, family, source)
    table = _table(folder, family, source, config)
    labels, table = _labels(source, table)
    make_plan(encoder_shapes(config), source, table)
    tokenizer = read_tensorflow_tokenizer(folder, f"{Path(name).name} {folder.name}", lowercase)
    check_vocabulary(tokenizer.vocabulary, config.vocabulary_size, str(folder))
    return Preset(
        name=name,
        origin="tensorflow",
        config=config,
        source=source,
        table=table,
        tokenizer=tokenizer,
        # Where pretraining filled no pooler (ELECTRA), a classifier's starts fresh.
        pooler=not family.pretrained_pooler or stored_name(source, table, "pooler/dense/kernel") is not None,
        labels=labels,
        head={} if labels is None else {"multi_label": False},
    )


def _family(folder: Path, source: TensorFlowSource) -> Family:
    for family in FAMILIES.values():
        if family.google.settings is not None and (folder / family.google.settings).exists():
            return family
    for family in FAMILIES.values():
        root = family.google.table.names(TOKEN_TABLE)[0].split("/")[0]
        if family.google.settings is None and any(key.startswith(f"{root}/") for key in source.keys()):
            return family
    files = " or ".join(settings_files())
    raise TransformerError(f"{folder} has a TensorFlow checkpoint and must have its settings too: {files}")


def _config(folder: Path, family: Family, source: TensorFlowSource) -> TransformerConfig:
    facts = family.google
    if facts.settings is None:
        return config_of(_settings_of_weights(family, source), source.name, family)
    where = folder / facts.settings
    settings = read_json(where)
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    for size in sizes:
        if size not in settings:
            raise TransformerError(f"{where} must have {size}; it is missing")
    activation = settings.get("hidden_act", "gelu")
    check_choice(f"{where}: hidden_act", activation, facts.activations)
    narrow = settings.get("embedding_size") not in (None, settings["hidden_size"])
    if narrow and "embedding_size" not in family.huggingface.settings:
        raise TransformerError(
            f"{where}: embedding_size must be hidden_size in a {family.title}; got {settings['embedding_size']!r:.80}"
        )
    return config_of({**settings, "hidden_act": facts.activations[activation]}, where, family)


def _settings_of_weights(family: Family, source: TensorFlowSource) -> dict[str, Any]:
    """The sizes that ELECTRA's releases state nowhere, from the weights."""
    table = family.google.table

    def size(address: str, axis: int) -> int:
        key = table.names(address)[0]
        if key not in source.keys() or len(source.shape(key)) != 2:
            raise TransformerError(f"the weights of {source.name} must have {key}, of two axes")
        return source.shape(key)[axis]

    width = size("encoder_block_0/attention/query/kernel", 1)
    return {
        "vocab_size": size(TOKEN_TABLE, 0),
        "embedding_size": size(TOKEN_TABLE, 1),
        "max_position_embeddings": size("embeddings/position/embeddings", 0),
        "type_vocab_size": size("embeddings/segment/embeddings", 0),
        "hidden_size": width,
        "num_attention_heads": max(1, width // family.google.head_width),
        "intermediate_size": size("encoder_block_0/feed_forward/intermediate/kernel", 1),
        "num_hidden_layers": count_blocks(table, source.keys()),
        "hidden_act": family.google.activations["gelu"],
    }


def _table(folder: Path, family: Family, source: TensorFlowSource, config: TransformerConfig) -> Table:
    keys = set(source.keys())
    gardens = {row.title: row.google.model_garden for row in FAMILIES.values() if row.google.model_garden}
    root = next((root for table in gardens.values() if (root := find_root(table, keys)) is not None), None)
    if root is None:
        return family.google.table
    table = family.google.model_garden
    if table is None:
        raise TransformerError(f"{source.name} is Model Garden's {family.name}; only its {', '.join(gardens)} is read")
    found = count_blocks(table, keys, root)
    if found != config.num_layers or found > MOST_LAYERS:
        raise TransformerError(
            f"{folder / str(family.google.settings)} must fit the weights; it has num_hidden_layers="
            f"{config.num_layers}, and the weights have {found} blocks"
        )
    return expand(table, found, root)


def _labels(source: TensorFlowSource, table: Table) -> tuple[tuple[str, ...] | None, Table]:
    if (kernel := stored_name(source, table, "head/logits/kernel")) is None:
        return None, table
    shape = source.shape(kernel)
    if len(shape) != 2 or shape[0] < 2:
        return None, table.without("head/.*", "the head of a regression, another task")
    return tuple(f"LABEL_{i}" for i in range(shape[0])), table


# Tokenizers of Google's own releases: WordPiece vocabularies and SentencePiece models.


def read_tensorflow_tokenizer(folder: Path, name: str, lowercase: bool | None = None) -> TokenizerSpec:
    """The tokenizer of a folder as Google released it.

    ALBERT's English releases hold a SentencePiece model (`30k-clean.model`), whose text is prepared as in
    Hugging Face's tokenizer; all others hold `vocab.txt`, or under a name of its own `vocab_chinese.txt`.
    """
    path = _vocabulary_file(folder)
    data = read_bytes(path)
    if path.suffix == ".model":
        pieces = parse_pieces(data, str(path))
        lowercase = guess_lowercase(name, pieces) if lowercase is None else lowercase
        rules = dict.fromkeys(("lowercase", "strip_accents", "straighten_quotes"), lowercase)
        facts = family_of_tokenizer("sentencepiece").tokenizer
        settings = {**rules, "pair_separators": facts.pair_separators, **facts.roles}
        return TokenizerSpec("sentencepiece", pieces, settings, {"spiece.model": data})
    pieces = parse_vocabulary(data, str(path))
    lowercase = guess_lowercase(name, pieces) if lowercase is None else lowercase
    return TokenizerSpec("wordpiece", pieces, {"lowercase": lowercase, "strip_accents": None}, {"vocab.txt": data})


def guess_lowercase(name: str, vocabulary: tuple[str, ...]) -> bool:
    """Guess whether a vocabulary was made from lowercased text, by a release's name or else by its pieces.

    Only the name of a release says so, where it has "uncased" or "cased" in it. Otherwise a vocabulary
    without a single capital letter, bracketed tokens aside, is taken for one of lowercased text.

    Example:
        >>> guess_lowercase("cased_L-12_H-768_A-12", ("[UNK]", "a"))
        False
        >>> guess_lowercase("my_checkpoint", ("[UNK]", "a"))
        True
    """
    stated = re.search(r"(un)?cased", name.lower())
    if stated:
        return stated.group() == "uncased"
    return not any(piece != piece.lower() and not piece.startswith("[") for piece in vocabulary)


def _vocabulary_file(folder: Path) -> Path:
    usual = folder / "vocab.txt"
    found = [usual] if usual.is_file() else sorted((*folder.glob("*.model"), *folder.glob("vocab*.txt")))
    if len(found) != 1 or not found[0].is_file():
        names = ", ".join(path.name for path in found[:5]) or "none of them"
        raise TransformerError(f"{folder} must have a vocab.txt or one SentencePiece .model; it has {names}")
    return found[0]


# Model Garden's checkpoints: layers numbered in one row, behind a root.


def find_root(table: Table, keys: Iterable[str]) -> str | None:
    """Return the prefix of the names of the encoder's tensors, such as "encoder/"; None where there is no such encoder.

    Example:
        >>> from tftransformer.models.families import FAMILIES
        >>> table = FAMILIES["bert"].google.model_garden
        >>> find_root(table, ["encoder/layer_with_weights-0/embeddings/.ATTRIBUTES/VARIABLE_VALUE"])
        'encoder/'
    """
    tails = [name.removeprefix("{root}") for name in _names(table, TOKEN_TABLE)]
    found = (key.removesuffix(tail) for key in keys for tail in tails if f"/{key}".endswith(f"/{tail}"))
    # A classifier's own layers are numbered around the encoder's: the innermost is the encoder.
    return max(found, key=len, default=None)


def count_blocks(table: Table, keys: Iterable[str], root: str = "") -> int:
    """Count the stored blocks of the encoder whose names begin with `root`."""
    names = (_LATER.sub("{i}", name).replace("{root}", root) for name in _names(table, _QUERY))
    expression = re.compile("|".join(re.escape(name).replace(r"\{i\}", r"\d+") for name in names))
    return sum(expression.fullmatch(key) is not None for key in keys)


def expand(table: Table, num_layers: int, root: str) -> Table:
    """The table of one model: its depth and its root in the place of the placeholders.

    Args:
        table: With `{root}`, `{i+4}` and `{n+4}` in names and in patterns of what is ignored.
        num_layers: Blocks of the encoder.
        root: Result of `find_root`.
    """

    def filled(text: str, root: str = root, block: int = 0) -> str:
        numbers = {"i": block, "n": num_layers}
        text = _LATER.sub(lambda match: str(numbers[match[1]] + int(match[2])), text)
        return text.replace("{root}", root).replace("{i}", str(block))

    rules = [
        dataclasses.replace(
            rule, address=filled(rule.address, block=i), names=tuple(filled(n, block=i) for n in rule.names)
        )
        for rule in table.rules
        for i in range(num_layers if "{i}" in rule.address else 1)
    ]
    ignored = [Ignored(filled(row.pattern, re.escape(root)), row.reason) for row in table.ignored]
    return dataclasses.replace(table, rules=tuple(rules), ignored=tuple(ignored))


def _names(table: Table, address: str) -> tuple[str, ...]:
    """The names of a rule as they are written, placeholders and all."""
    return next(rule.names for rule in table.rules if rule.address == address)
