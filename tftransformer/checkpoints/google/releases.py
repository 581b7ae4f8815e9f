"""Google's own releases of BERT, ALBERT and ELECTRA: TensorFlow checkpoints with a vocabulary beside them."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tftransformer.checkpoints.assign import make_plan
from tftransformer.checkpoints.folders import read_json
from tftransformer.checkpoints.google.tokenizers import read_tensorflow_tokenizer
from tftransformer.checkpoints.huggingface.layout import MOST_LAYERS, Layout
from tftransformer.checkpoints.preset import Preset, check_vocabulary
from tftransformer.checkpoints.rules import Table
from tftransformer.checkpoints.sources import TensorFlowSource
from tftransformer.checkpoints.sources.tensorflow_file import find_checkpoint
from tftransformer.checkpoints.tables import (
    albert,
    albert_tensorflow,
    bert,
    bert_tensorflow,
    electra,
    electra_tensorflow,
)
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.models.shapes import encoder_shapes


@dataclasses.dataclass(frozen=True)
class Release:
    """One family of Google's releases: what its configuration means, and what its first generation is called.

    Args:
        layout: The settings, which Hugging Face took over by name.
        activations: What their name of an activation is in Hugging Face's words.
        table: The names of the first generation's tensors.
        settings: The name of the file that holds the settings; None: they follow from the weights.
    """

    layout: Layout
    activations: Mapping[str, str]
    table: Table
    settings: str | None


RELEASES: dict[str, Release] = {
    "bert": Release(
        bert.LAYOUT, bert_tensorflow.ACTIVATIONS, bert_tensorflow.TENSORFLOW_1, "bert_config.json"
    ),
    "albert": Release(
        albert.LAYOUT, albert_tensorflow.ACTIVATIONS, albert_tensorflow.TENSORFLOW_1, "albert_config.json"
    ),
    "electra": Release(electra.LAYOUT, electra_tensorflow.ACTIVATIONS, electra_tensorflow.TENSORFLOW_1, None),
}


def is_tensorflow_folder(folder: Path) -> bool:
    """Whether a folder is one of Google's releases, or meant to be."""
    stated = any((folder / release.settings).exists() for release in RELEASES.values() if release.settings)
    return stated or any(folder.glob("*.index"))


def load_tensorflow_folder(folder: Path, name: str, *, lowercase: bool | None = None) -> Preset:
    """Read a folder as Google released it: settings, vocabulary and a TensorFlow checkpoint.

    The first generation (TensorFlow 1) of BERT, ALBERT and ELECTRA is read, and Model Garden's BERT. A
    classifier that their `run_classifier.py` trained brings its head along, with classes named LABEL_0,
    LABEL_1, ….

    Nothing in such a folder says whether text is lowercased: `guess_lowercase` tells it from the name or the
    vocabulary, and `lowercase` overrules it.

    Args:
        folder: The folder.
        name: What the caller called it.
        lowercase: Whether the tokenizer makes text lower case. None: see above.

    Raises:
        TransformerError: A file is missing or damaged, the settings have no counterpart here, or settings,
            vocabulary and weights contradict each other.
    """
    checkpoint = find_checkpoint(folder)
    if checkpoint is None:
        raise TransformerError(f"{folder} has no TensorFlow checkpoint: no file whose name ends in .index")
    source = TensorFlowSource(checkpoint)
    family = _family(folder, source)
    release = RELEASES[family]
    config = _config(folder, release, source)
    table = _table(folder, release, source, config)
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
        # ELECTRA has no pooler that pretraining filled: a classifier's starts fresh.
        pooler=family == "electra" or _stored(source, table, "pooler/dense/kernel"),
        labels=labels,
        head={} if labels is None else {"multi_label": False},
    )


def _family(folder: Path, source: TensorFlowSource) -> str:
    for family, release in RELEASES.items():
        if release.settings is not None and (folder / release.settings).exists():
            return family
    if any(key.startswith("electra/") for key in source.keys()):
        return "electra"
    files = " or ".join(release.settings for release in RELEASES.values() if release.settings)
    raise TransformerError(f"{folder} has a TensorFlow checkpoint and must have its settings too: {files}")


def _config(folder: Path, release: Release, source: TensorFlowSource) -> TransformerConfig:
    if release.settings is None:
        return release.layout.to_config(_electra_settings(source), source.name)
    where = folder / release.settings
    settings = read_json(where)
    for size in (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
    ):
        if size not in settings:
            raise TransformerError(f"{where} must have {size}; it is missing")
    activation = settings.get("hidden_act", "gelu")
    if not isinstance(activation, str) or activation not in release.activations:
        known = ", ".join(release.activations)
        raise TransformerError(f"{where}: hidden_act must be one of {known}; got {activation!r:.80}")
    if release.layout.family == "bert" and settings.get("embedding_size") not in (
        None,
        settings["hidden_size"],
    ):
        raise TransformerError(
            f"{where}: embedding_size must be hidden_size in a BERT; got {settings['embedding_size']!r:.80}"
        )
    return release.layout.to_config({**settings, "hidden_act": release.activations[activation]}, where)


def _electra_settings(source: TensorFlowSource) -> dict[str, Any]:
    """The sizes that ELECTRA's releases state nowhere, from the weights."""

    def size(address: str, axis: int) -> int:
        key = electra_tensorflow.TENSORFLOW_1.names(address)[0]
        if key not in source.keys() or len(source.shape(key)) != 2:
            raise TransformerError(f"the weights of {source.name} must have {key}, of two axes")
        return source.shape(key)[axis]

    width = size("encoder_block_0/attention/query/kernel", 1)
    query = re.compile(r"electra/encoder/layer_\d+/attention/self/query/kernel")
    return {
        "vocab_size": size("embeddings/token/embeddings", 0),
        "embedding_size": size("embeddings/token/embeddings", 1),
        "max_position_embeddings": size("embeddings/position/embeddings", 0),
        "type_vocab_size": size("embeddings/segment/embeddings", 0),
        "hidden_size": width,
        "num_attention_heads": max(1, width // electra_tensorflow.HEAD_WIDTH),
        "intermediate_size": size("encoder_block_0/feed_forward/intermediate/kernel", 1),
        "num_hidden_layers": sum(query.fullmatch(key) is not None for key in source.keys()),
        "hidden_act": electra_tensorflow.ACTIVATIONS["gelu"],
    }


def _table(folder: Path, release: Release, source: TensorFlowSource, config: TransformerConfig) -> Table:
    keys = set(source.keys())
    root = bert_tensorflow.model_garden_root(keys)
    if root is None:
        return release.table
    if release.layout.family != "bert":
        raise TransformerError(
            f"{source.name} is Model Garden's {release.layout.family}; only its BERT is read"
        )
    found = bert_tensorflow.count_blocks(keys, root)
    if found != config.num_layers or found > MOST_LAYERS:
        raise TransformerError(
            f"{folder / str(release.settings)} must fit the weights; it has num_hidden_layers="
            f"{config.num_layers}, and the weights have {found} blocks"
        )
    return bert_tensorflow.model_garden(found, root, bert_tensorflow.has_outer_pooler(keys))


def _labels(source: TensorFlowSource, table: Table) -> tuple[tuple[str, ...] | None, Table]:
    if not _stored(source, table, "head/logits/kernel"):
        return None, table
    shape = source.shape(table.names("head/logits/kernel")[0])
    if len(shape) != 2 or shape[0] < 2:
        return None, table.without("head/.*", "the head of a regression, another task")
    return tuple(f"LABEL_{i}" for i in range(shape[0])), table


def _stored(source: TensorFlowSource, table: Table, address: str) -> bool:
    return any(name in source.keys() for name in table.names(address))
