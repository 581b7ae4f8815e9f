"""Folders in Hugging Face's layout: config.json, vocab.txt and model.safetensors."""

from pathlib import Path
from typing import Any

from tftransformer.checkpoints.assign import make_plan
from tftransformer.checkpoints.folders import read_json, read_optional_json
from tftransformer.checkpoints.preset import Preset, check_vocabulary
from tftransformer.checkpoints.rules import Table
from tftransformer.checkpoints.sources import SafetensorsSource, Source, weights_file
from tftransformer.checkpoints.tables import bert
from tftransformer.config import TransformerConfig
from tftransformer.data.tokenizers.vocabulary import read_vocabulary
from tftransformer.errors import TransformerError

FAMILIES = ("bert",)


def load_huggingface(folder: Path, name: str) -> Preset:
    """Read a folder that transformers (or sentence-transformers) wrote.

    Args:
        folder: The folder.
        name: What the caller called it.

    Raises:
        TransformerError: A file is missing or damaged, the family or an option is not supported, or the
            configuration, vocabulary and weights contradict each other.
    """
    settings = read_json(folder / "config.json")
    config = convert_config(settings, folder / "config.json")
    source = SafetensorsSource(weights_file(folder))
    if config.num_layers > len(source.keys()):
        raise TransformerError(
            f"{folder / 'config.json'} must fit the weights; it has num_hidden_layers={config.num_layers}, "
            f"and the weights are {len(source.keys())} tensors"
        )
    pooling, labels, head, table = _above_the_encoder(folder, settings, source)
    make_plan(bert.encoder_shapes(config), source, table)
    if not (folder / "vocab.txt").is_file():
        raise TransformerError(f"{folder} has no vocab.txt; a tokenizer.json alone is not read")
    vocabulary = read_vocabulary(folder / "vocab.txt")
    check_vocabulary(vocabulary, config.vocabulary_size, str(folder), exact=False)
    return Preset(
        name=name,
        origin="huggingface",
        config=config,
        source=source,
        table=table,
        vocabulary=vocabulary,
        tokenizer=tokenizer_settings(folder),
        pooling=pooling or "cls",
        pooler=pooling is None and _stored(source, table, "pooler/dense/kernel") is not None,
        labels=labels,
        head=head,
    )


def convert_config(settings: dict[str, Any], where: Any = "config.json") -> TransformerConfig:
    """Hugging Face's settings as our configuration.

    Args:
        settings: The contents of config.json.
        where: For messages.

    Raises:
        TransformerError: Another family, an option without a counterpart here, or an impossible size.
    """
    family = settings.get("model_type")
    if family not in FAMILIES:
        raise TransformerError(
            f"{where} must be of a family that loads ({', '.join(FAMILIES)}); its model_type is {family!r}"
        )
    for key, required in bert.HUGGING_FACE_REQUIRED.items():
        if settings.get(key, required) not in (required, None):
            raise TransformerError(f"{where}: {key} must be {required!r}; got {settings[key]!r}")
    settings = {**bert.HUGGING_FACE_DEFAULTS, **settings}
    activation = settings["hidden_act"]
    if not isinstance(activation, str) or activation not in bert.HUGGING_FACE_ACTIVATIONS:
        known = ", ".join(bert.HUGGING_FACE_ACTIVATIONS)
        raise TransformerError(f"{where}: hidden_act must be one of {known}; got {activation!r}")
    sizes = {ours: settings[theirs] for theirs, ours in bert.HUGGING_FACE_SETTINGS.items()}
    try:
        return TransformerConfig("bert", **sizes, activation=bert.HUGGING_FACE_ACTIVATIONS[activation])
    except TransformerError as error:
        raise TransformerError(f"{where}: {error}") from None


def tokenizer_settings(folder: Path) -> dict[str, Any]:
    """The tokenizer's rules: tokenizer_config.json, and tokenizer.json where that leaves one open."""
    stated = read_optional_json(folder / "tokenizer_config.json")
    normalizer = read_optional_json(folder / "tokenizer.json").get("normalizer")
    if not isinstance(normalizer, dict) or normalizer.get("type") != "BertNormalizer":
        normalizer = {}
    tokens = bert.HUGGING_FACE_TOKENS.items()
    special = {ours: stated[theirs] for theirs, ours in tokens if isinstance(stated.get(theirs), str)}
    cjk = stated.get("tokenize_chinese_chars", normalizer.get("handle_chinese_chars", True))
    return {
        **special,
        "lowercase": bool(stated.get("do_lower_case", normalizer.get("lowercase", True))),
        "strip_accents": stated.get("strip_accents", normalizer.get("strip_accents")),
        "split_on_cjk": bool(cjk),
    }


def _above_the_encoder(
    folder: Path, settings: dict[str, Any], source: Source
) -> tuple[str | None, tuple[str, ...] | None, dict[str, Any], Table]:
    """Pooling (None: BERT's own), labels and settings of the head, and the table that loads it or not."""
    table, pooling = bert.HUGGING_FACE, None
    stated = read_optional_json(folder / "1_Pooling" / "config.json")
    for key, value in (("mean_tokens", "mean"), ("max_tokens", "max"), ("cls_token", "cls")):
        if stated.get(f"pooling_mode_{key}"):
            pooling = value
            break
    kernel = _stored(source, table, "head/logits/kernel")
    if kernel is None:
        return pooling, None, {}, table
    architectures = settings.get("architectures") or []
    if architectures and not any("SequenceClassification" in str(a) for a in architectures):
        return pooling, None, {}, table.without("head/.*", f"the head of {architectures[0]}, another task")
    count = source.shape(kernel)[0] if source.shape(kernel) else 0
    if settings.get("problem_type") == "regression" or count < 2:
        return pooling, None, {}, table.without("head/.*", "the head of a regression, another task")
    names = settings.get("id2label") or {str(i): f"LABEL_{i}" for i in range(count)}
    if not isinstance(names, dict) or sorted(names) != sorted(str(i) for i in range(count)):
        raise TransformerError(
            f"{folder / 'config.json'}: id2label must name the {count} classes of the classifier from 0 on; "
            f"got {names!r:.80}"
        )
    head: dict[str, Any] = {"multi_label": settings.get("problem_type") == "multi_label_classification"}
    if isinstance(settings.get("classifier_dropout"), (int, float)):
        head["head_dropout"] = float(settings["classifier_dropout"])
    return pooling, tuple(str(names[str(i)]) for i in range(count)), head, table


def _stored(source: Source, table: Table, address: str) -> str | None:
    """The name under which a source holds one of our variables; None where it does not."""
    present = source.keys()
    return next((name for name in table.names(address) if name in present), None)
