"""Cutting an encoder after a block and going on gives what the encoder gives, and leaves it as it was."""

import numpy as np
import pytest
from keras import ops

from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.models.encoder import build_encoder
from tftransformer.models.surgery import run_encoder, run_prefix, run_suffix, states_name
from tftransformer.patterns import addresses

SETTINGS = [
    {"position": "alibi", "num_segments": 1},
    {"position": "relative_buckets", "normalize_first": True},
    {"num_distinct_blocks": 1},
]


def build(**settings):
    config = TransformerConfig(
        vocabulary_size=50, num_layers=3, hidden_dim=8, num_heads=2, intermediate_dim=16, **settings
    )
    encoder = build_encoder(config)
    draw = np.random.default_rng(0)
    for variable in addresses(encoder).values():
        variable.assign(draw.normal(0.0, 1.0, variable.shape))
    ids = draw.integers(5, 50, (3, 7)).astype("int32")
    mask = (np.arange(7) < np.array([[7], [4], [1]])).astype("int32")
    return config, encoder, {"token_ids": ids * mask, "padding_mask": mask, "segment_ids": mask * (ids % 2)}


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_parts_make_the_whole_wherever_it_is_cut(settings):
    config, encoder, inputs = build(**settings)
    whole = ops.convert_to_numpy(run_encoder(encoder, config, inputs))
    real = inputs["padding_mask"].astype(bool)
    before = np.zeros((3, 7, 8))
    for blocks in range(4):
        states = ops.convert_to_numpy(run_prefix(encoder, config, inputs, blocks))
        # What stands at padding is nobody's business.
        states = np.where(real[:, :, None], states, 0.0)
        cut = {states_name(blocks): states, "padding_mask": inputs["padding_mask"]}
        rest = ops.convert_to_numpy(run_encoder(encoder, config, cut))
        np.testing.assert_allclose(rest[real], whole[real], atol=1e-5)
        assert np.abs(states - before).max() > 1e-2
        before = states


def test_the_encoder_does_not_notice():
    config, encoder, inputs = build()
    names, output = list(addresses(encoder)), encoder.get_layer("encoder_block_1").output
    run_suffix(encoder, config, run_prefix(encoder, config, inputs, 1), inputs["padding_mask"], 1)
    assert list(addresses(encoder)) == names
    assert encoder.get_layer("encoder_block_1").output is output


def test_a_cut_is_between_none_and_all_blocks():
    config, encoder, inputs = build()
    for blocks in (-1, 4, 1.0, True):
        with pytest.raises(TransformerError, match="blocks must be between 0 and 3"):
            run_prefix(encoder, config, inputs, blocks)
        with pytest.raises(TransformerError, match="blocks must be between 0 and 3"):
            run_suffix(encoder, config, inputs, inputs["padding_mask"], blocks)
