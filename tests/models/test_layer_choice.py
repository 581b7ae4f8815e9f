"""Layers are chosen by what was said, and the config follows."""

import numpy as np
import pytest

from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.models.layer_choice import choose_layers, keep_in_config

SIZES = {"vocabulary_size": 9, "num_layers": 4, "hidden_dim": 8, "intermediate_dim": 8}


def test_layers_are_chosen_by_what_was_said():
    assert choose_layers("every_second", 5) == (0, 2, 4)
    assert choose_layers("every_second:2", 12) == (0, 2)
    assert choose_layers("every:3", 7) == (0, 3, 6) and choose_layers("every:2", 5) == (0, 2, 4)
    assert choose_layers("last", 12, 3) == (9, 10, 11) == choose_layers("last:3", 12)
    assert choose_layers(None, 4, 2) == (0, 1) == choose_layers(2, 4) == choose_layers("first:2", 4)
    assert choose_layers(np.array([2, 2, 0]), 4) == (2, 2, 0)


@pytest.mark.parametrize(
    ("layers", "count", "message"),
    [
        (5, None, "between 1 and 4, the blocks that there are; got 5"),
        (0, None, "between 1 and 4"),
        (None, 5, "between 1 and 4"),
        ("last:5", None, "between 1 and 4"),
        ("every_second:3", None, "between 1 and 2, the blocks of every second that"),
        ("every", 2, "must say how many, as in every:6"),
        ("every:5", None, "between 1 and 4"),
        ("every_secnd", None, "did you mean 'every_second'"),
        ("first:-1", None, "must be a number, first:N"),
        ("first", None, "must say how many, as in first:6"),
        ([0, 4], None, "numbers of blocks between 0 and 3; got 4"),
        ([], None, "got none"),
        ([0.5], None, "list of whole numbers"),
        (True, None, "list of whole numbers"),
        ("every_second", 3, "as many as the config has, 3; 'every_second' chooses 2"),
    ],
)
def test_layers_that_cannot_be(layers, count, message):
    with pytest.raises(TransformerError, match=message):
        choose_layers(layers, 4, count)


def test_a_config_of_fewer_layers_is_one_that_never_had_the_others():
    config = TransformerConfig(**SIZES, num_heads=2)
    assert keep_in_config(config, range(4)) == config
    assert keep_in_config(config, [0, 2]) == TransformerConfig(**{**SIZES, "num_layers": 2}, num_heads=2)
    assert keep_in_config(config.replace(num_decoder_layers=3), [1]).num_decoder_layers == 3
    stated = keep_in_config(config.replace(num_distinct_blocks=4), [0, 2])
    assert stated.num_blocks == stated.num_distinct_blocks == 2


def test_every_block_keeps_its_heads():
    config = TransformerConfig(**SIZES, head_dim=2, num_heads=(4, 2, 2, 4), num_key_value_heads=(2, 1, 2, 2))
    kept = keep_in_config(config, [3, 1])
    assert (kept.num_heads, kept.num_key_value_heads) == ((4, 2), (2, 1))
    assert (keep_in_config(config, [0, 3]).num_heads, keep_in_config(config, [0, 3]).num_key_value_heads) == (4, 2)


def test_shared_blocks():
    shared = TransformerConfig(**SIZES, num_heads=2, num_distinct_blocks=1)
    assert (keep_in_config(shared, [0, 3]).num_layers, keep_in_config(shared, [0, 3]).num_blocks) == (2, 1)
    grouped = TransformerConfig(**SIZES, num_distinct_blocks=2, num_heads=(2, 1), head_dim=4)
    assert keep_in_config(grouped, range(4)) == grouped
    with pytest.raises(TransformerError, match="layers must all stay .*; the encoder has 4 layers of 2 blocks"):
        keep_in_config(grouped, [0, 1])
