"""Encoder-decoders (Vaswani et al. 2017): a config becomes one plain functional model."""

import keras

from tftransformer.config import TransformerConfig
from tftransformer.models.decoder_walk import build_decoder_stack, walk_decoder
from tftransformer.models.walk import build_stack, walk


def build_encoder_decoder(
    config: TransformerConfig, dtype: str | None = None, name: str = "encoder_decoder"
) -> keras.Model:
    """A functional encoder-decoder: two token sequences in, logits of each next decoder token out.

    Args:
        config: Sizes and choices; segments are left out. `vocabulary_size` and `num_layers` are the encoder's,
            `decoder_vocabulary_size` and `num_decoder_layers` the decoder's. There is an embedding layer for each
            side, with `share_embeddings` over one token table, that of `embeddings`; `tie_embeddings` ties the output head
            to the decoder's.
        dtype, name: As for `build_encoder`.

    Returns:
        A `keras.Model` from a dict of `encoder_token_ids` (B, S), `encoder_padding_mask` (B, S),
        `decoder_token_ids` (B, T) and `decoder_padding_mask` (B, T) to logits (B, T, V), float32 under every
        policy. Layers are named as in the encoder and the decoder.

    Example:
        >>> config = TransformerConfig("transformer", vocabulary_size=100, decoder_vocabulary_size=50,
        ...                            num_layers=2, hidden_dim=16, num_heads=2, intermediate_dim=32)
        >>> source, target = keras.ops.ones((2, 7), "int32"), keras.ops.ones((2, 5), "int32")
        >>> build_encoder_decoder(config)({
        ...     "encoder_token_ids": source, "encoder_padding_mask": source,
        ...     "decoder_token_ids": target, "decoder_padding_mask": target}).shape
        TensorShape([2, 5, 50])
    """
    names = ("encoder_token_ids", "encoder_padding_mask", "decoder_token_ids", "decoder_padding_mask")
    inputs = {key: keras.Input((None,), dtype="int32", name=key) for key in names}
    # The one row of a table of one segment is everybody's; several would need to be told apart.
    stack = build_stack(config, 1 if config.num_segments == 1 else 0, dtype)
    source = {"token_ids": inputs["encoder_token_ids"], "padding_mask": inputs["encoder_padding_mask"]}
    decoder = build_decoder_stack(
        config,
        config.decoder_vocabulary_size,
        config.num_decoder_layers,
        cross_attention=True,
        table=stack.embeddings if config.share_embeddings else None,
        dtype=dtype,
    )
    target = {
        "token_ids": inputs["decoder_token_ids"],
        "padding_mask": inputs["decoder_padding_mask"],
        "memory": walk(stack, source),
        "memory_padding_mask": inputs["encoder_padding_mask"],
    }
    return keras.Model(inputs, walk_decoder(decoder, target), name=name)
