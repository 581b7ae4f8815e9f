"""Words for masks from a preset's own masked-LM head, for `data.augmentation.ReplaceMasked`."""

import os
from collections.abc import Mapping

import keras
import tensorflow as tf

from tftransformer.checkpoints.assign import stored_addresses
from tftransformer.checkpoints.preset import Preset
from tftransformer.checkpoints.presets import load_preset
from tftransformer.config import TransformerConfig
from tftransformer.data.augmentation.masked_words import Fill, mask_filler
from tftransformer.errors import TransformerError
from tftransformer.models.encoder import build_encoder
from tftransformer.models.masked_language_head import MaskedLanguageHead

_LONGEST = 128


def masked_filler(
    preset: str | os.PathLike[str] | Preset, *, sequence_length: int | None = None, candidates: int = 8
) -> Fill:
    """A callable that fills the masks in texts, from a preset that was saved with its masked-LM head.

    Such are Hugging Face's folders of a `…ForMaskedLM` (BERT, DistilBERT, RoBERTa, XLM-R, ALBERT), Google's BERT and
    ALBERT checkpoints, and folders pretrained here with the objective `masked_lm` or `both`. Sentence encoders, such
    as the embedded preset and all-MiniLM, were taught without words and have no head.

    Args:
        preset: As for `load_preset`.
        sequence_length: Longest text in tokens; masks behind that are not filled. None: the encoder's limit, 128 at most.
        candidates: Words that each mask gets, the best first.

    Returns:
        From texts with `[MASK]` to a list a text, which holds a list of words for each mask.

    Raises:
        TransformerError: As `load_preset`; the preset has no such head, or `sequence_length` is not the encoder's.

    Example:
        >>> fill = tt.tasks.masked_filler("models/bert-base-uncased")  # doctest: +SKIP
        >>> fill(["a very good [MASK]"])  # doctest: +SKIP
        [[['film', 'movie', ...]]]
        >>> augmentation = tt.Augmentation(tt.data.augmentation.ReplaceMasked(fill, 0.1))  # doctest: +SKIP
    """
    preset = preset if isinstance(preset, Preset) else load_preset(preset)
    config = preset.config
    limit = config.max_sequence_length if config.position == "learned" else None
    longest = min(_LONGEST, limit or _LONGEST) if sequence_length is None else sequence_length
    if longest < 3 or (limit is not None and longest > limit):
        bounds = f"between 3 and {limit}, the encoder's longest input" if limit else "at least 3"
        raise TransformerError(f"sequence_length must be {bounds}; got {longest}")
    if "lm_head/bias" not in stored_addresses(preset.source, preset.table):
        raise TransformerError(
            f"masked_filler needs a preset with a masked-LM head, and {preset.name} has none: take a folder of a "
            "...ForMaskedLM, or pretrain with --objective=masked_lm"
        )
    if preset.modifications:
        raise TransformerError(
            f"masked_filler needs an encoder as it was pretrained; {preset.name} holds changes of structure"
        )
    model = _build_model(config)
    preset.load_into(model)
    names = list(model.input)

    @tf.function(reduce_retracing=True)
    def predict(batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return model({name: batch[name] for name in names}, training=False)

    return mask_filler(preset.tokenizer.build(), predict, sequence_length=longest, candidates=candidates)


def _build_model(config: TransformerConfig) -> keras.Model:
    """From an encoder's inputs and `mask_places` (M,) in the B * T tokens to logits (M, V)."""
    encoder = build_encoder(config)
    places = keras.Input((), dtype="int32", name="mask_places")
    tokens = keras.ops.reshape(encoder.output, (-1, config.hidden_dim))
    head = MaskedLanguageHead(
        encoder.get_layer("embeddings").token, config.activation, config.layer_norm_epsilon, name="lm_head"
    )
    logits = head(keras.ops.take(tokens, places, axis=0))
    return keras.Model({**encoder.input, "mask_places": places}, logits)
