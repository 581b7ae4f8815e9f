"""One walk: the builder's graph, a walk in pieces, rows of several texts and taps agree, and leave the encoder alone."""

import numpy as np
import pytest
from keras import ops

from tftransformer.config import POSITIONS, TransformerConfig
from tftransformer.data.packed_batches import PLACES, ROWS, pack_batch
from tftransformer.errors import TransformerError
from tftransformer.layers import tapped
from tftransformer.models.encoder import build_encoder
from tftransformer.models.walk import hidden_states, stack_of, states_name, walk
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
    stack, whole = stack_of(encoder, config), ops.convert_to_numpy(encoder(inputs_of(encoder, inputs)))
    np.testing.assert_allclose(ops.convert_to_numpy(walk(stack, inputs)), whole, atol=1e-6)
    real = inputs["padding_mask"].astype(bool)
    before = np.zeros((3, 7, 8))
    for blocks in range(4):
        states = ops.convert_to_numpy(walk(stack, inputs, stop=blocks))
        # What stands at padding is nobody's business.
        states = np.where(real[:, :, None], states, 0.0)
        cut = {states_name(blocks): states, "padding_mask": inputs["padding_mask"]}
        rest = ops.convert_to_numpy(walk(stack, cut))
        np.testing.assert_allclose(rest[real], whole[real], atol=1e-5)
        assert np.abs(states - before).max() > 1e-2
        before = states


def test_the_encoder_does_not_notice():
    config, encoder, inputs = build()
    names, output = list(addresses(encoder)), encoder.get_layer("encoder_block_1").output
    states = walk(stack_of(encoder, config), inputs, stop=1)
    walk(stack_of(encoder, config), {states_name(1): states, "padding_mask": inputs["padding_mask"]})
    assert list(addresses(encoder)) == names
    assert encoder.get_layer("encoder_block_1").output is output


def test_a_walk_ends_between_where_it_begins_and_the_last_block():
    config, encoder, inputs = build()
    stack = stack_of(encoder, config)
    for stop in (-1, 4, 1.0, True):
        with pytest.raises(TransformerError, match="stop must be between 0 and 3, the encoder's layers; got"):
            walk(stack, inputs, stop=stop)
    cut = {states_name(2): walk(stack, inputs, stop=2), "padding_mask": inputs["padding_mask"]}
    with pytest.raises(TransformerError, match="between 2, where the inputs begin, and 3"):
        walk(stack, cut, stop=1)
    assert walk(stack, cut, stop=2) is cut[states_name(2)]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_taps_show_every_application_as_a_cut_there_gives_it(settings):
    config, encoder, inputs = build(**settings)
    stack, real = stack_of(encoder, config), inputs["padding_mask"].astype(bool)
    with tapped("embeddings", "final_norm", r"encoder_block_\d+(/attention(/scores)?)?") as taps:
        whole = walk(stack, inputs)
    for layer in range(3):
        expected = ops.convert_to_numpy(walk(stack, inputs, stop=layer + 1))
        seen = ops.convert_to_numpy(taps[f"encoder_block_{layer}"])
        np.testing.assert_allclose(seen[real], expected[real], atol=1e-6)
        scores = ops.convert_to_numpy(taps[f"encoder_block_{layer}/attention/scores"])
        np.testing.assert_allclose(scores.sum(-1), 1.0, atol=1e-5)
    assert ("final_norm" in taps.values) == config.normalize_first
    np.testing.assert_array_equal(taps["embeddings"], walk(stack, inputs, stop=0))
    states = hidden_states(stack, inputs)
    assert len(states) == 3
    np.testing.assert_array_equal(states[-1], whole)


SCHEMES = [{"position": name, "num_segments": 1} for name in POSITIONS] + [{"num_distinct_blocks": 1}]


@pytest.mark.parametrize("settings", SCHEMES, ids=str)
@pytest.mark.parametrize("normalize_first", [False, True])
def test_whoever_walks_walks_the_same_way(settings, normalize_first):
    """Every position scheme: the functional model, the walk, a walk in pieces, rows of several texts."""
    config, encoder, inputs = build(**settings, normalize_first=normalize_first)
    real, stack = inputs["padding_mask"].astype(bool), stack_of(encoder, config)
    expected = ops.convert_to_numpy(encoder(inputs_of(encoder, inputs)))[real]
    cut = {states_name(1): walk(stack, inputs, stop=1), "padding_mask": inputs["padding_mask"]}
    np.testing.assert_allclose(ops.convert_to_numpy(walk(stack, cut))[real], expected, atol=1e-5)
    packed = pack_batch(*(inputs[name] for name in ("token_ids", "segment_ids", "padding_mask")), capacity=12)
    rows = {name: packed[name] for name in ROWS}
    rows["padding_mask"] = (packed["sequence_ids"] > 0).astype("int32")
    vectors = ops.convert_to_numpy(walk(stack, rows)).reshape(-1, 8)[packed[PLACES]]
    np.testing.assert_allclose(vectors[real], expected, atol=1e-5)


def inputs_of(encoder, inputs):
    return {name: inputs[name] for name in encoder.input}
