"""Folders in Hugging Face's layout, read and written: config.json, a tokenizer's files and the weights."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tftransformer import files
from tftransformer.checkpoints.assign import check_depth, make_plan, stored_name
from tftransformer.checkpoints.folders import read_json, read_optional_json
from tftransformer.checkpoints.fused import fuse, unfused
from tftransformer.checkpoints.huggingface.settings import begin_of, begin_settings, config_of, find_family, settings_of
from tftransformer.checkpoints.huggingface.tokenizer import read_tokenizer, write_tokenizer
from tftransformer.checkpoints.native_format import as_array, write_weights
from tftransformer.checkpoints.preset import REGRESSION, TAGGING, Preset, check_vocabulary
from tftransformer.checkpoints.rules import Table, to_source
from tftransformer.checkpoints.sources import FLOATING, Source, open_weights
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError, check_choice
from tftransformer.models.families import FAMILIES, Family, families_of
from tftransformer.models.families.family import HuggingFace
from tftransformer.models.families.names.huggingface import of_tokens
from tftransformer.models.shapes import shapes_of
from tftransformer.text.base import Tokenizer

# sentence-transformers' names of ways to pool.
_POOLINGS = {"mean": "mean_tokens", "max": "max_tokens", "cls": "cls_token"}


def load_huggingface(folder: Path, name: str) -> Preset:
    """Read a folder that transformers (or sentence-transformers) wrote."""
    where = folder / "config.json"
    settings = read_json(where)
    family = find_family(settings, where)
    config = config_of(settings, where, family)
    table, above = family.huggingface.table, {}
    source = unfused(open_weights(folder), table)
    check_depth(where, config, source)
    if config.logits_bias and stored_name(source, table, "logits_bias/bias") is None:
        config = config.replace(logits_bias=False)  # files that were written before there was one
    if family.architecture == "encoder":
        pooling, labels, head, table = _above_the_encoder(folder, family, settings, source)
        stored = stored_name(source, table, "pooler/dense/kernel") is not None
        pooler = pooling is None and (stored or not family.pretrained_pooler)
        above = {"pooling": pooling or "cls", "pooler": pooler, "labels": labels, "head": head}
    make_plan(shapes_of(config), source, table)
    tokenizer = read_tokenizer(folder, family.name)
    check_vocabulary(tokenizer.vocabulary, config.vocabulary_size, str(folder))
    if family.huggingface.begin:
        begin = begin_of(settings, family.huggingface, tokenizer.vocabulary, where)
        above["task"] = {"begin_tokens": begin}
    return Preset(name, "huggingface", config, source, table, tokenizer, **above)


def _above_the_encoder(
    folder: Path, family: Family, settings: Mapping[str, Any], source: Source
) -> tuple[str | None, tuple[str, ...] | None, dict[str, Any], Table]:
    """Pooling (None: the family's own), labels and settings of the head, and the table that loads it or not."""
    table = family.huggingface.table
    stated = read_optional_json(folder / "1_Pooling" / "config.json")
    pooling = next((ours for ours, theirs in _POOLINGS.items() if stated.get(f"pooling_mode_{theirs}")), None)
    architectures = settings.get("architectures") or []
    architectures = architectures if isinstance(architectures, list) else [architectures]
    if any("TokenClassification" in str(a) for a in architectures):
        table = of_tokens(table, family.pretrained_pooler)
        kernel = stored_name(source, table, "head/logits/kernel")
        head = {} if kernel is None else _tag_head(folder, family, settings, _first(source.shape(kernel)))
        return pooling, None, head, table
    kernel = stored_name(source, table, "head/logits/kernel")
    if kernel is None:
        return pooling, None, {}, table
    if architectures and not any("SequenceClassification" in str(a) for a in architectures):
        return pooling, None, {}, _without_head(family, f"the head of {architectures[0]}, another task")
    count = _first(source.shape(kernel))
    head = _head_dropout(settings, family.huggingface.head_dropout, family.huggingface.default_head_dropout)
    if settings.get("problem_type") == "regression" or count < 2:
        # Its numbers come as they are, in their own units.
        names = _number_names(settings.get("id2label"), count)
        known = {"names": names, "mean": [0.0] * count, "scale": [1.0] * count}
        return pooling, None, {**head, "kind": REGRESSION, **known}, table
    head["multi_label"] = settings.get("problem_type") == "multi_label_classification"
    return pooling, _class_names(folder, settings, count), head, table


def _first(shape: Sequence[int]) -> int:
    return shape[0] if shape else 0


def _tag_head(folder: Path, family: Family, settings: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Settings of a head that gives tags; theirs take the most probable tag of each word."""
    stated = settings.get("tagging")
    known = {name: stated[name] for name in ("scheme", "decode") if name in stated} if isinstance(stated, dict) else {}
    # The name of a setting that counts for heads over whole texts alone begins with "seq".
    name = family.huggingface.head_dropout
    dropout = {} if name.startswith("seq") else _head_dropout(settings, name, None)
    labels = list(_class_names(folder, settings, count))
    return {"kind": TAGGING, "labels": labels, "decode": "argmax", **known, **dropout}


def _head_dropout(settings: Mapping[str, Any], name: str, default: float | None) -> dict[str, Any]:
    dropout = settings.get(name, default)
    number = isinstance(dropout, (int, float)) and not isinstance(dropout, bool)
    return {"head_dropout": float(dropout)} if number else {}


def _class_names(folder: Path, settings: Mapping[str, Any], count: int) -> tuple[str, ...]:
    names = settings.get("id2label") or {str(i): f"LABEL_{i}" for i in range(count)}
    if not isinstance(names, dict) or sorted(names) != sorted(str(i) for i in range(count)):
        raise TransformerError(
            f"{folder / 'config.json'}: id2label must name the {count} classes of the classifier from 0 on; "
            f"got {names!r:.80}"
        )
    return tuple(str(names[str(i)]) for i in range(count))


def _number_names(stated: Any, count: int) -> list[str]:
    """Names of numbers: those of a folder, but for those that transformers makes up."""
    names = [stated.get(str(i)) for i in range(count)] if isinstance(stated, dict) else []
    known = names and all(isinstance(name, str) and not name.startswith("LABEL_") for name in names)
    if known and len(set(names)) == count:
        return [str(name) for name in names]
    return ["number"] if count == 1 else [f"number {i + 1}" for i in range(count)]


def _without_head(family: Family, reason: str) -> Table:
    """The table without the classifier, of which the pooler may be a part."""
    dropped = "head/.*" if family.pretrained_pooler else "(head|pooler)/.*"
    return family.huggingface.table.without(dropped, reason)


def save_huggingface(
    folder: str | os.PathLike[str],
    *,
    config: TransformerConfig,
    tokenizer: Tokenizer,
    variables: Mapping[str, Any],
    pooling: str = "cls",
    labels: Sequence[str] | None = None,
    head: Mapping[str, Any] | None = None,
    begin: Sequence[int] = (),
    dtype: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a folder that transformers loads without a missing or unexpected tensor, and that loads here, too.

    The form follows from the variables: a decoder as the family's class with its language-modelling head; an
    encoder with a classification head as `...ForSequenceClassification`, with one over tokens as
    `...ForTokenClassification`, with a language-modelling head as
    `...ForMaskedLM`, else as its bare `...Model`
    (with `1_Pooling` and `modules.json` of sentence-transformers where texts are pooled by mean or maximum). BERT's
    and ALBERT's bare models have a pooler; where ours has none, load them with `add_pooling_layer=False`.

    Args:
        folder, config, tokenizer, variables, pooling, labels, dtype, overwrite: Arguments of `save_preset`.
        head: Settings of the head: `multi_label`, `head_dropout`; for numbers `kind` and `names`, for tags `kind`, `labels`,
            `scheme` and `decode`.
        begin: Ids that a target begins with, of an encoder-decoder.

    Returns:
        The folder.

    Raises:
        TransformerError: Their model of the family cannot express this one (its head pools the first token through
            the family's own dense layer), or the folder cannot be written.
    """
    family = FAMILIES[config.family]
    facts = family.huggingface
    if facts is None:
        known = ", ".join(families_of("huggingface"))
        raise TransformerError(
            f"format 'huggingface' must be of a family it is written for ({known}); got {config.family!r}"
        )
    if dtype is not None:
        check_choice("dtype", dtype, FLOATING)
    settings = settings_of(config)
    tags = (head or {}).get("kind") == TAGGING and "head/logits/kernel" in variables
    table = of_tokens(facts.table, family.pretrained_pooler) if tags else facts.table
    tensors, kind = _tensors(family, table, config, variables, pooling, tags)
    folder = Path(folder)
    with files.atomic_folder(folder, overwrite=overwrite) as new:
        write_weights(new / "model.safetensors", tensors, dtype, metadata={"format": "pt"})
        settings["architectures"] = [facts.classes + kind]
        settings["dtype"] = dtype or str(next(iter(tensors.values())).dtype)
        ids = {"pad_token_id": tokenizer.pad_id, "bos_token_id": tokenizer.start_id}
        settings = {**ids, "eos_token_id": tokenizer.separator_id, **settings, **begin_settings(begin, facts)}
        if kind in ("ForSequenceClassification", "ForTokenClassification"):
            settings.update(_head_settings(facts, labels or (), head or {}))
        files.write_json(new / "config.json", settings)
        write_tokenizer(new, tokenizer, config.family)
        if kind == "Model" and pooling != "cls":
            _write_pooling(new, pooling, config.hidden_dim)
    return folder


def _tensors(
    family: Family, table: Table, config: TransformerConfig, variables: Mapping[str, Any], pooling: str, tags: bool
) -> tuple[dict[str, Any], str]:
    """Their tensors by their names, and the end of the name of the class that holds them."""
    facts, addresses = family.huggingface, set(variables)
    foreign = sorted({address.split("/")[0] for address in addresses if table.rule(address) is None})
    if foreign:
        raise TransformerError(
            f"format 'huggingface' must leave out what {table.name} has no place for; the model has "
            f"{', '.join(foreign)}"
        )
    pooler = "pooler/dense/kernel" in addresses
    if family.architecture != "encoder":
        kind = facts.language_model
    elif tags:
        kind = "ForTokenClassification"
    elif "head/logits/kernel" in addresses:
        kind = "ForSequenceClassification"
        if pooling != "cls" or not pooler:
            found = f"the model pools by {pooling}" if pooling != "cls" else "the model has none"
            raise TransformerError(
                f"{facts.classes}ForSequenceClassification must pool the first token through a dense layer; {found} "
                "(head=False saves the encoder alone)"
            )
    else:
        kind = facts.language_model if "lm_head/bias" in addresses else "Model"
        keep = kind == "Model" and pooling == "cls" and family.pretrained_pooler
        addresses -= set() if keep else {"pooler/dense/kernel", "pooler/dense/bias"}
    prefix = "" if kind == "Model" else facts.prefix
    chosen = (address for address in variables if address in addresses)
    tensors = dict(
        to_source(table, address, as_array(variables[address]), config.num_heads, prefix) for address in chosen
    )
    return fuse(tensors, table), kind


def _head_settings(facts: HuggingFace, labels: Sequence[str], head: Mapping[str, Any]) -> dict[str, Any]:
    several = bool(head.get("multi_label"))
    kind = "multi_label_classification" if several else "single_label_classification"
    if head.get("kind") == REGRESSION:
        labels, kind = head["names"], REGRESSION
    if head.get("kind") == TAGGING:
        labels, kind = head["labels"], None
    settings = {
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
        "problem_type": kind,
    }
    if kind is None:
        settings["tagging"] = {name: head[name] for name in ("scheme", "decode")}
    if "head_dropout" in head:
        settings[facts.head_dropout] = head["head_dropout"]
    return settings


def _write_pooling(folder: Path, pooling: str, width: int) -> None:
    """The two files by which sentence-transformers pools the tokens of a bare model."""
    (folder / "1_Pooling").mkdir()
    stated = {f"pooling_mode_{name}": key == pooling for key, name in _POOLINGS.items()}
    files.write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **stated})
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
        for i, (path, name) in enumerate((("", "Transformer"), ("1_Pooling", "Pooling")))
    ]
    files.write_json(folder / "modules.json", modules)
