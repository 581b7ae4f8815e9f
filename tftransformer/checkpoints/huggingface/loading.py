"""Folders in Hugging Face's layout: config.json, a tokenizer's files and the weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tftransformer.checkpoints.assign import check_depth, make_plan, stored_name
from tftransformer.checkpoints.folders import read_json, read_optional_json
from tftransformer.checkpoints.huggingface.settings import config_of, find_family
from tftransformer.checkpoints.huggingface.tokenizer import read_tokenizer
from tftransformer.checkpoints.preset import Preset, check_vocabulary
from tftransformer.checkpoints.rules import Table
from tftransformer.checkpoints.sources import Source, open_weights
from tftransformer.errors import TransformerError
from tftransformer.models.families import Family
from tftransformer.models.shapes import encoder_shapes


def load_huggingface(folder: Path, name: str) -> Preset:
    """Read a folder that transformers (or sentence-transformers) wrote."""
    where = folder / "config.json"
    settings = read_json(where)
    family = find_family(settings, where)
    config = config_of(settings, where, family)
    source = open_weights(folder)
    check_depth(where, config, source)
    pooling, labels, head, table = _above_the_encoder(folder, family, settings, source)
    make_plan(encoder_shapes(config), source, table)
    tokenizer = read_tokenizer(folder, family.name)
    check_vocabulary(tokenizer.vocabulary, config.vocabulary_size, str(folder))
    stored = stored_name(source, table, "pooler/dense/kernel") is not None
    return Preset(
        name=name,
        origin="huggingface",
        config=config,
        source=source,
        table=table,
        tokenizer=tokenizer,
        pooling=pooling or "cls",
        pooler=pooling is None and (stored or not family.pretrained_pooler),
        labels=labels,
        head=head,
    )


def _above_the_encoder(
    folder: Path, family: Family, settings: Mapping[str, Any], source: Source
) -> tuple[str | None, tuple[str, ...] | None, dict[str, Any], Table]:
    """Pooling (None: the family's own), labels and settings of the head, and the table that loads it or not."""
    table, pooling = family.huggingface.table, None
    stated = read_optional_json(folder / "1_Pooling" / "config.json")
    for key, value in (("mean_tokens", "mean"), ("max_tokens", "max"), ("cls_token", "cls")):
        if stated.get(f"pooling_mode_{key}"):
            pooling = value
            break
    kernel = stored_name(source, table, "head/logits/kernel")
    if kernel is None:
        return pooling, None, {}, table
    architectures = settings.get("architectures") or []
    architectures = architectures if isinstance(architectures, list) else [architectures]
    if architectures and not any("SequenceClassification" in str(a) for a in architectures):
        return pooling, None, {}, _without_head(family, f"the head of {architectures[0]}, another task")
    count = source.shape(kernel)[0] if source.shape(kernel) else 0
    if settings.get("problem_type") == "regression" or count < 2:
        return pooling, None, {}, _without_head(family, "the head of a regression, another task")
    names = settings.get("id2label") or {str(i): f"LABEL_{i}" for i in range(count)}
    if not isinstance(names, dict) or sorted(names) != sorted(str(i) for i in range(count)):
        raise TransformerError(
            f"{folder / 'config.json'}: id2label must name the {count} classes of the classifier from 0 on; "
            f"got {names!r:.80}"
        )
    head: dict[str, Any] = {"multi_label": settings.get("problem_type") == "multi_label_classification"}
    dropout = settings.get(family.huggingface.head_dropout, family.huggingface.default_head_dropout)
    if isinstance(dropout, (int, float)) and not isinstance(dropout, bool):
        head["head_dropout"] = float(dropout)
    return pooling, tuple(str(names[str(i)]) for i in range(count)), head, table


def _without_head(family: Family, reason: str) -> Table:
    """The table without the classifier, of which the pooler may be a part."""
    dropped = "head/.*" if family.pretrained_pooler else "(head|pooler)/.*"
    return family.huggingface.table.without(dropped, reason)
