"""Which part of a classifier counts as frozen, and what decides its outputs."""

import keras
import numpy as np
import pytest

from tftransformer.config import TransformerConfig
from tftransformer.finetuning import freeze, unfreeze
from tftransformer.finetuning.frozen_part import find_frozen_part
from tftransformer.layers.pooling import CLSPooling, MeanPooling
from tftransformer.models.encoder import build_encoder
from tftransformer.patterns import addresses


def build(**settings):
    config = TransformerConfig(
        vocabulary_size=50, num_layers=3, hidden_dim=8, num_heads=2, intermediate_dim=16, **settings
    )
    return build_encoder(config), config


def pooling(kind):
    pooler = MeanPooling(name="pooler") if kind == "mean" else CLSPooling(dense=kind == "dense", name="pooler")
    pooler.build((None, None, 8))
    return pooler


def found(encoder, config, pooler="mean", extra_blocks=0):
    prefix = find_frozen_part(encoder, config, pooling(pooler), extra_blocks)
    return prefix and (prefix.blocks, prefix.output)


def test_the_cut_is_as_high_as_everything_below_it_is_frozen():
    encoder, config = build()
    assert found(encoder, config) is None
    for layers, expected in ((0, None), (1, (1, "tokens")), (2, (2, "tokens")), (3, (3, "pooled"))):
        freeze(encoder, layers=layers)
        assert found(encoder, config) == expected
    assert found(encoder, config, "dense") == (3, "first")
    assert found(encoder, config, "first") == (3, "pooled")
    assert found(encoder, config, "dense", extra_blocks=1) == (3, "tokens")
    unfreeze(encoder, "encoder_block_1/attention/query/bias")
    assert found(encoder, config) == (1, "tokens")
    unfreeze(encoder, "embeddings")
    assert found(encoder, config) is None


def test_a_layer_that_would_still_drop_out_is_not_frozen():
    encoder, config = build()
    for name in ("embeddings", "encoder_block_0"):
        for weight in encoder.get_layer(name).weights:
            weight.trainable = False
    assert found(encoder, config) is None
    freeze(encoder, layers=1)
    assert found(encoder, config) == (1, "tokens")


def test_shared_blocks_and_norms_and_biases_count():
    encoder, config = build(num_distinct_blocks=1)
    freeze(encoder, layers=1)
    assert found(encoder, config) == (3, "pooled")
    encoder, config = build(position="relative_buckets", normalize_first=True)
    freeze(encoder, layers=3)
    assert found(encoder, config) is None, "the bias of all blocks trains"
    freeze(encoder, patterns="position_bias")
    assert found(encoder, config) == (3, "tokens"), "the last norm trains"
    assert found(encoder, config, "dense") == (3, "first")
    freeze(encoder, patterns="final_norm")
    assert found(encoder, config) == (3, "pooled")


@pytest.mark.parametrize(
    ("settings", "same"),
    [({}, True), ({"dropout": 0.3}, True), ({"activation": "relu"}, False), ({"layer_norm_epsilon": 1e-5}, False)],
    ids=str,
)  # fmt: skip
def test_the_digest_tells_apart_what_gives_other_numbers(settings, same):
    digests = []
    for given in ({}, settings):
        encoder, config = build(**given)
        draw = np.random.default_rng(0)
        for variable in addresses(encoder).values():
            variable.assign(draw.normal(size=variable.shape))
        freeze(encoder, layers=2)
        digests.append(find_frozen_part(encoder, config, pooling("mean")).digest())
    assert (digests[0] == digests[1]) == same


def test_it_names_itself():
    encoder, config = build()
    freeze(encoder, layers=1)
    assert str(find_frozen_part(encoder, config, pooling("mean"))) == "embeddings and block 0"
    freeze(encoder, layers=3)
    assert str(find_frozen_part(encoder, config, pooling("mean"))) == "embeddings, blocks 0-2 and pooling"


def test_a_custom_layer_that_says_nothing_of_itself_goes_by_its_class():
    class Silent(keras.layers.Layer):
        def __init__(self, initial, **kwargs):
            super().__init__(**kwargs)

        def call(self, x, padding_mask=None):
            return x[:, 0]

    encoder, config = build()
    freeze(encoder, layers=3)
    silent = Silent(keras.initializers.Zeros())
    assert (
        find_frozen_part(encoder, config, silent).digest()
        != find_frozen_part(encoder, config, pooling("mean")).digest()
    )
