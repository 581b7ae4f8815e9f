"""A preset from any source: configuration, weights, vocabulary and settings."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tftransformer import patterns
from tftransformer.checkpoints.assign import LoadSummary, assign, stored_name
from tftransformer.checkpoints.rules import TOKEN_TABLE, Table
from tftransformer.checkpoints.sources import Source
from tftransformer.config import TransformerConfig
from tftransformer.data.labels import label_name
from tftransformer.errors import TransformerError
from tftransformer.models.families import FAMILIES
from tftransformer.text.spec import TokenizerSpec

if TYPE_CHECKING:
    import keras

# What `head["kind"]` says of a head that gives numbers, and of one that gives tags.
REGRESSION = "regression"
TAGGING = "tagging"
POOLINGS = ("cls", "mean", "max")
# The class of a folder that does not say which: older ones did not.
UNSTATED = ""


@dataclasses.dataclass(frozen=True)
class Preset:
    """A checkpoint that was found and checked against its own configuration; no weights are read yet.

    Args:
        name: Name that the caller asked for.
        origin: "tftransformer", "huggingface", "keras_hub" or "tensorflow".
        config: The encoder's sizes and choices.
        source: The weights, read when they are asked for.
        table: Names of the weights in the source.
        tokenizer: Tokenizer as plain data; `tokenizer.build()` makes it.
        pooling: Way from tokens to one vector: "cls", "mean" or "max".
        pooler: The source has BERT's dense layer for the first token, and `pooling` is "cls".
        labels: The names (`data.labels`) of the classes of the source's classification head; None where it has none.
        head: Settings of that head, such as `dropout` and `multi_label`.
        task: Other settings of the task that saved the preset (our own folders).
        modifications: Changes of structure to replay before the weights fit (our own folders).
        class_name: The registered name of the task's class that it was saved from (our own folders), such as
            "tftransformer>TextClassifier"; None for an encoder alone, `UNSTATED` where the folder does not say.
    """

    name: str
    origin: str
    config: TransformerConfig
    source: Source
    table: Table
    tokenizer: TokenizerSpec
    pooling: str = "cls"
    pooler: bool = False
    labels: tuple[str, ...] | None = None
    head: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    task: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    modifications: tuple[Any, ...] = ()
    class_name: str | None = None

    def __post_init__(self) -> None:
        # Whoever wrote them, they are compared with names that a user gives.
        if self.labels is not None:
            object.__setattr__(self, "labels", tuple(label_name(label) or label for label in self.labels))

    @property
    def is_regression(self) -> bool:
        """True if its head gives numbers and no logits of classes."""
        return self.head.get("kind") == REGRESSION

    @property
    def has_encoder(self) -> bool:
        """True if it has an encoder that can be used alone; other libraries' encoder-decoders are one whole."""
        whole = FAMILIES[self.config.family].architecture == "encoder_decoder" and self.origin != "tftransformer"
        return not whole and stored_name(self.source, self.table, TOKEN_TABLE) is not None

    def load_into(
        self, model: "keras.Model", *, optional: str | Iterable[str] = (), fresh: str | Iterable[str] = ()
    ) -> LoadSummary:
        """Set a model's weights from the preset's; see `assign` for what that promises.

        Args:
            model: A built Keras model whose variables have the usual addresses.
            optional: Addresses that may start fresh.
            fresh: Addresses that start fresh in any case.

        Raises:
            TransformerError: The weights are not the model's; nothing was set.
        """
        return assign(patterns.addresses(model), self.source, self.table, optional=optional, fresh=fresh)

    def build_encoder(self, dtype: str | None = None) -> Any:
        """The encoder, with the preset's weights.

        Args:
            dtype: A Keras dtype policy, such as "mixed_bfloat16". None: the global one.

        Returns:
            The functional `keras.Model` of `models.build_encoder`.

        Example:
            >>> from tftransformer.checkpoints import load_preset
            >>> encoder = load_preset("bert_12x192_en_uncased").build_encoder()
        """
        from tftransformer.models.encoder import build_encoder

        if self.modifications:
            raise TransformerError(
                f"the preset {self.name!r} holds changes of structure, such as LoRA: load the task it was saved from"
            )
        if not self.has_encoder:
            raise TransformerError(f"the preset {self.name!r} holds a decoder and no encoder")
        encoder = build_encoder(self.config, dtype=dtype)
        self.load_into(encoder)
        return encoder


def check_vocabulary(vocabulary: tuple[str, ...], rows: int, where: str) -> None:
    """A vocabulary must fit the embedding table. Spare rows are usual: tables are padded to a multiple of 8 or 64."""
    if len(vocabulary) > rows:
        raise TransformerError(
            f"the vocabulary of {where} must fit its embeddings; it has {len(vocabulary)} pieces and the "
            f"embeddings {rows} rows"
        )
