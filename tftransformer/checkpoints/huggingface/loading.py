"""Folders in Hugging Face's layout: config.json, a tokenizer's files and the weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tftransformer.checkpoints.assign import make_plan
from tftransformer.checkpoints.folders import read_json, read_optional_json
from tftransformer.checkpoints.huggingface.layout import Layout
from tftransformer.checkpoints.huggingface.tokenizer import read_tokenizer
from tftransformer.checkpoints.preset import Preset, check_vocabulary
from tftransformer.checkpoints.rules import Table
from tftransformer.checkpoints.sources import Source, open_weights
from tftransformer.checkpoints.tables import albert, bert, distilbert, electra, roberta
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError, near_miss
from tftransformer.models.families import FAMILIES
from tftransformer.models.shapes import encoder_shapes

LAYOUTS: dict[str, Layout] = {
    layout.model_type: layout
    for layout in (
        bert.LAYOUT,
        distilbert.LAYOUT,
        roberta.LAYOUT,
        roberta.XLM_LAYOUT,
        electra.LAYOUT,
        albert.LAYOUT,
    )
}


def load_huggingface(folder: Path, name: str) -> Preset:
    """Read a folder that transformers (or sentence-transformers) wrote.

    Args:
        folder: The folder.
        name: What the caller called it.

    Raises:
        TransformerError: A file is missing or damaged, the family or an option is not supported, or the
            configuration, vocabulary and weights contradict each other.
    """
    where = folder / "config.json"
    settings = read_json(where)
    layout = find_layout(settings, where)
    config = layout.to_config(settings, where)
    source = open_weights(folder)
    if config.num_blocks > len(source.keys()):
        raise TransformerError(
            f"{where} must fit the weights; it has {config.num_blocks} layers, and the weights are "
            f"{len(source.keys())} tensors"
        )
    pooling, labels, head, table = _above_the_encoder(folder, layout, settings, source)
    make_plan(encoder_shapes(config), source, table)
    tokenizer = read_tokenizer(folder, layout.family)
    check_vocabulary(tokenizer.vocabulary, config.vocabulary_size, str(folder))
    row = FAMILIES[layout.family]
    stored = _stored(source, table, "pooler/dense/kernel") is not None
    return Preset(
        name=name,
        origin="huggingface",
        config=config,
        source=source,
        table=table,
        tokenizer=tokenizer,
        pooling=pooling or "cls",
        pooler=pooling is None and (stored or not row.pretrained_pooler),
        labels=labels,
        head=head,
    )


def find_layout(settings: Mapping[str, Any], where: Any = "config.json") -> Layout:
    """The layout of the family that config.json names.

    Raises:
        TransformerError: The family does not load, or is not named.
    """
    model_type = settings.get("model_type")
    if not isinstance(model_type, str) or model_type not in LAYOUTS:
        hint = near_miss(model_type, LAYOUTS) if isinstance(model_type, str) else ""
        raise TransformerError(
            f"{where} must be of a family that loads ({', '.join(LAYOUTS)}); its model_type is {model_type!r}{hint}"
        )
    return LAYOUTS[model_type]


def convert_config(settings: Mapping[str, Any], where: Any = "config.json") -> TransformerConfig:
    """Hugging Face's settings as our configuration.

    Args:
        settings: The contents of config.json.
        where: For messages.

    Raises:
        TransformerError: Another family, an option without a counterpart here, or an impossible size.
    """
    return find_layout(settings, where).to_config(settings, where)


def _above_the_encoder(
    folder: Path, layout: Layout, settings: Mapping[str, Any], source: Source
) -> tuple[str | None, tuple[str, ...] | None, dict[str, Any], Table]:
    """Pooling (None: the family's own), labels and settings of the head, and the table that loads it or not."""
    table, pooling = layout.table, None
    stated = read_optional_json(folder / "1_Pooling" / "config.json")
    for key, value in (("mean_tokens", "mean"), ("max_tokens", "max"), ("cls_token", "cls")):
        if stated.get(f"pooling_mode_{key}"):
            pooling = value
            break
    kernel = _stored(source, table, "head/logits/kernel")
    if kernel is None:
        return pooling, None, {}, table
    architectures = settings.get("architectures") or []
    architectures = architectures if isinstance(architectures, list) else [architectures]
    if architectures and not any("SequenceClassification" in str(a) for a in architectures):
        return pooling, None, {}, _without_head(layout, f"the head of {architectures[0]}, another task")
    count = source.shape(kernel)[0] if source.shape(kernel) else 0
    if settings.get("problem_type") == "regression" or count < 2:
        return pooling, None, {}, _without_head(layout, "the head of a regression, another task")
    names = settings.get("id2label") or {str(i): f"LABEL_{i}" for i in range(count)}
    if not isinstance(names, dict) or sorted(names) != sorted(str(i) for i in range(count)):
        raise TransformerError(
            f"{folder / 'config.json'}: id2label must name the {count} classes of the classifier from 0 on; "
            f"got {names!r:.80}"
        )
    head: dict[str, Any] = {"multi_label": settings.get("problem_type") == "multi_label_classification"}
    dropout = settings.get(layout.head_dropout, layout.default_head_dropout)
    if isinstance(dropout, (int, float)) and not isinstance(dropout, bool):
        head["head_dropout"] = float(dropout)
    return pooling, tuple(str(names[str(i)]) for i in range(count)), head, table


def _without_head(layout: Layout, reason: str) -> Table:
    """The table without the classifier, of which the pooler may be a part."""
    dropped = "head/.*" if FAMILIES[layout.family].pretrained_pooler else "(head|pooler)/.*"
    return layout.table.without(dropped, reason)


def _stored(source: Source, table: Table, address: str) -> str | None:
    """The name under which a source holds one of our variables; None where it does not."""
    present = set(source.keys())
    return next((name for name in table.names(address) if name in present), None)
