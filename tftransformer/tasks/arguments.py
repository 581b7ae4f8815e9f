"""Checks of the arguments of tasks."""

from tftransformer.checkpoints.preset import POOLINGS
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError, near_miss
from tftransformer.text.base import Tokenizer


def check_classifier(
    config: TransformerConfig,
    tokenizer: Tokenizer,
    pooling: str,
    extra_blocks: int,
    sequence_length: int | None,
) -> None:
    """Raise a `TransformerError` for the first of a classifier's arguments that cannot be."""
    if pooling not in POOLINGS:
        raise TransformerError(
            f"pooling must be one of {', '.join(POOLINGS)}; got {pooling!r}{near_miss(pooling, POOLINGS)}"
        )
    if isinstance(extra_blocks, bool) or not isinstance(extra_blocks, int) or extra_blocks < 0:
        raise TransformerError(f"extra_blocks must be 0 or a positive integer; got {extra_blocks!r}")
    if tokenizer.vocabulary_size > config.vocabulary_size:
        raise TransformerError(
            f"the vocabulary must fit the embeddings; it has {tokenizer.vocabulary_size} tokens and the embeddings "
            f"{config.vocabulary_size} rows"
        )
    # Two tokens are [CLS] and [SEP]; below that there is no room for any text.
    bound = config.max_sequence_length if config.position == "learned" else None
    if sequence_length is not None and (
        isinstance(sequence_length, bool)
        or not isinstance(sequence_length, int)
        or sequence_length < 3
        or bound
        and sequence_length > bound
    ):
        limit = f"between 3 and {bound}, the encoder's longest input" if bound else "at least 3"
        raise TransformerError(f"sequence_length must be {limit}; got {sequence_length!r}")
