"""A user's script: an encoder-decoder of the original paper's width, trained on tensors with compile and fit."""

import keras
import numpy as np
import pytest

from tftransformer.config import TransformerConfig
from tftransformer.models import build_encoder_decoder


@pytest.mark.slow
def test_an_encoder_decoder_trains_on_tensors():
    keras.utils.set_random_seed(0)
    config = TransformerConfig(
        "transformer", vocabulary_size=10000, decoder_vocabulary_size=5000, num_layers=2, hidden_dim=512,
        num_heads=8, intermediate_dim=2048,
    )  # fmt: skip
    model = build_encoder_decoder(config)
    # The target is the source's ids halved, so that the decoder has to look at the encoder.
    rng = np.random.default_rng(0)
    source = rng.integers(2, 60, (8, 10)).astype("int32")
    target = np.concatenate([np.ones((8, 1), "int32"), source // 2], axis=1)
    inputs = {
        "encoder_token_ids": source,
        "encoder_padding_mask": np.ones_like(source),
        "decoder_token_ids": target[:, :-1],
        "decoder_padding_mask": np.ones_like(target[:, :-1]),
    }
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    before, _ = model.evaluate(inputs, target[:, 1:], batch_size=8, verbose=0)
    assert 0.5 * np.log(5000) < before < 2.5 * np.log(5000)
    history = model.fit(inputs, target[:, 1:], batch_size=8, epochs=4, verbose=0).history["loss"]
    after, _ = model.evaluate(inputs, target[:, 1:], batch_size=8, verbose=0)
    assert after < history[0] - 1 and after < before - 1
    assert model(inputs).shape == (8, 10, 5000)
