"""Texts that share rows come out as they do from rows of their own, and so do the gradients."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tftransformer.config import TransformerConfig
from tftransformer.data.packed_batches import PLACES, ROWS, pack_batch
from tftransformer.models.encoder import build_encoder
from tftransformer.models.walk import stack_of, walk
from tftransformer.patterns import addresses

SETTINGS = [
    {},
    {"normalize_first": True, "position": "sinusoidal"},
    {"position": "rotary"},
    {"position": "relative"},
    {"position": "alibi"},
    {"position": "relative_buckets"},
    {"num_distinct_blocks": 1, "num_segments": 1},
]


@pytest.mark.by_default("{}", "{'position': 'rotary'}", "{'position': 'relative_buckets'}")
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_packed_equals_unpacked(settings):
    config = TransformerConfig(
        vocabulary_size=50, num_layers=2, hidden_dim=8, num_heads=2, intermediate_dim=16, **settings
    )
    encoder = build_encoder(config)
    draw = np.random.default_rng(0)
    for variable in addresses(encoder).values():
        variable.assign(draw.normal(0.0, 1.0, variable.shape))
    lengths = np.array([7, 2, 5, 1, 4, 6])
    mask = (np.arange(7) < lengths[:, None]).astype("int32")
    ids = draw.integers(5, 50, mask.shape).astype("int32") * mask
    inputs = {"token_ids": ids, "padding_mask": mask, "segment_ids": mask * (np.arange(7) > 2).astype("int32")}
    packed = pack_batch(*(inputs[name] for name in ("token_ids", "segment_ids", "padding_mask")), capacity=12)
    assert packed["sequence_ids"].max() > 1
    weights = [variable.value for variable in encoder.trainable_variables]
    slope = (draw.normal(size=(6, 7, 8)) * mask[:, :, None]).astype("float32")

    def run(function):
        with tf.GradientTape() as tape:
            x = function()
        return ops.convert_to_numpy(x), tape.gradient(x, weights, output_gradients=tf.constant(slope))

    stack, rows = stack_of(encoder, config), {name: packed[name] for name in ROWS}
    rows["padding_mask"] = (packed["sequence_ids"] > 0).astype("int32")
    alone, expected = run(lambda: walk(stack, inputs))
    shared, gradients = run(lambda: ops.take(ops.reshape(walk(stack, rows), (-1, 8)), packed[PLACES], axis=0))
    real = mask.astype(bool)
    np.testing.assert_allclose(shared[real], alone[real], atol=1e-5)
    for ours, theirs in zip(gradients, expected):
        scale = max(1.0, np.abs(tf.convert_to_tensor(theirs)).max())
        np.testing.assert_allclose(tf.convert_to_tensor(ours), tf.convert_to_tensor(theirs), atol=1e-5 * scale, rtol=0)
