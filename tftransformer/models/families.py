"""Families of models: the builder of each, and what the world's checkpoints of it look like."""

import dataclasses
from collections.abc import Callable

import keras

from tftransformer.config import TransformerConfig
from tftransformer.models.decoder import build_decoder
from tftransformer.models.encoder import build_encoder
from tftransformer.models.encoder_decoder import build_encoder_decoder


@dataclasses.dataclass(frozen=True)
class Family:
    """One family of models.

    Args:
        title: Its name as its authors write it.
        builder: Config to model.
        sources: Where checkpoints load from: "huggingface" (folders and `hf://`), "keras_nlp" (presets by name,
            handle and folder), "google" (TensorFlow checkpoints).
        tokenizer: The kind its checkpoints come with (`data.tokenizers.spec.KINDS`).
        pooler_activation: Behind the dense layer on the first token.
        pooler_dropout: The classifiers of its authors have dropout before that layer, too.
        pretrained_pooler: That layer is part of what was pretrained, not of a classifier's head.
    """

    title: str
    builder: Callable[..., keras.Model]
    sources: tuple[str, ...] = ()
    tokenizer: str | None = None
    pooler_activation: str = "tanh"
    pooler_dropout: bool = False
    pretrained_pooler: bool = False


FAMILIES: dict[str, Family] = {
    "bert": Family(
        "BERT",
        build_encoder,
        ("huggingface", "keras_nlp", "google"),
        "wordpiece",
        pretrained_pooler=True,
    ),
    "distilbert": Family(
        "DistilBERT", build_encoder, ("huggingface", "keras_nlp"), "wordpiece", pooler_activation="relu"
    ),
    "roberta": Family(
        "RoBERTa", build_encoder, ("huggingface", "keras_nlp"), "byte_bpe", pooler_dropout=True
    ),
    "xlm_roberta": Family(
        "XLM-RoBERTa", build_encoder, ("huggingface", "keras_nlp"), "sentencepiece", pooler_dropout=True
    ),
    "electra": Family(
        "ELECTRA (discriminator)",
        build_encoder,
        ("huggingface", "keras_nlp", "google"),
        "wordpiece",
        pooler_activation="gelu",
        pooler_dropout=True,
    ),
    "albert": Family(
        "ALBERT",
        build_encoder,
        ("huggingface", "keras_nlp", "google"),
        "sentencepiece",
        pretrained_pooler=True,
    ),
    "gpt2": Family("GPT-2's decoder", build_decoder),
    "transformer": Family("the encoder-decoder of Vaswani et al.", build_encoder_decoder),
}
BUILDERS: dict[str, Callable[..., keras.Model]] = {name: row.builder for name, row in FAMILIES.items()}


def build_model(config: TransformerConfig, dtype: str | None = None) -> keras.Model:
    """The model of the config's family, from that family's builder.

    Example:
        >>> build_model(TransformerConfig("bert", vocabulary_size=100, num_layers=1, hidden_dim=16, num_heads=2,
        ...                               intermediate_dim=32)).name
        'encoder'
    """
    return BUILDERS[config.family](config, dtype=dtype)


def loading_table() -> str:
    """What loads from where, as the Markdown table of README.md; a test keeps the two equal.

    Example:
        >>> print(loading_table().splitlines()[2])
        | BERT | `bert` | yes | yes | yes | WordPiece |
    """
    sources = {
        "huggingface": "Hugging Face folder, `hf://`",
        "keras_nlp": "keras-nlp name, `kaggle://`, folder",
        "google": "Google's TensorFlow checkpoint",
    }
    tokenizers = {"wordpiece": "WordPiece", "byte_bpe": "byte-level BPE", "sentencepiece": "SentencePiece"}
    lines = [
        f"| family | `family` | {' | '.join(sources.values())} | tokenizer |",
        "| --- " * (3 + len(sources)) + "|",
    ]
    for name, row in FAMILIES.items():
        if row.sources:
            marks = " | ".join("yes" if source in row.sources else "" for source in sources)
            lines.append(f"| {row.title} | `{name}` | {marks} | {tokenizers[row.tokenizer]} |")
    return "\n".join(lines)
