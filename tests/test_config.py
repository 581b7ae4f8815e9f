"""The configuration: defaults of families, checks, and JSON both ways."""

import dataclasses
import json

import pytest

from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.models.families import FAMILIES

SIZES = {"vocabulary_size": 100, "num_layers": 2, "hidden_dim": 24, "num_heads": 4, "intermediate_dim": 48}


def test_what_is_left_out_comes_from_the_family_and_the_other_sizes():
    config = TransformerConfig(**SIZES)
    assert config.family == "bert" and config.position == "learned" and config.num_segments == 2
    assert (config.head_dim, config.num_key_value_heads) == (6, 4)
    assert config.attention_dropout == config.dropout == 0.1
    assert (config.decoder_vocabulary_size, config.num_decoder_layers) == (100, 2)
    for name, family in FAMILIES.items():
        fields = TransformerConfig(name, **SIZES).to_dict()
        assert {field: fields[field] for field in family.defaults} == family.defaults


def test_what_is_given_wins_over_the_family():
    config = TransformerConfig(**SIZES, position="rotary", num_segments=0, attention_dropout=0.0, head_dim=10)
    assert (config.position, config.num_segments, config.attention_dropout, config.head_dim) == ("rotary", 0, 0.0, 10)


@pytest.mark.parametrize("family", FAMILIES)
def test_json_both_ways(family):
    config = TransformerConfig(family, **SIZES, num_key_value_heads=2, gated=True, layer_norm_epsilon=1e-5)
    assert TransformerConfig.from_json(config.to_json()) == config
    assert TransformerConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert hash(config) == hash(TransformerConfig.from_json(config.to_json()))


def test_blocks_may_have_unlike_numbers_of_heads():
    config = TransformerConfig(**{**SIZES, "num_heads": (4, 2)}, head_dim=6)
    assert config.num_heads == config.num_key_value_heads == (4, 2)
    assert TransformerConfig.from_json(config.to_json()) == config
    assert json.loads(config.to_json())["num_heads"] == [4, 2]
    assert hash(TransformerConfig.from_dict(json.loads(config.to_json()))) == hash(config)
    assert [config.heads_of_block(block) for block in (0, 1, None)] == [(4, 4), (2, 2), (4, 4)]
    # What is equal is one number, so that a config is written in one way alone.
    assert TransformerConfig(**{**SIZES, "num_heads": [4, 4]}) == TransformerConfig(**SIZES)
    assert config.replace(num_heads=(3, 3), num_key_value_heads=None).to_dict()["num_heads"] == 3


def test_it_is_frozen_and_replaced_by_checked_copies():
    config = TransformerConfig(**SIZES)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.num_layers = 3
    assert config.replace(num_layers=3).num_layers == 3 and config.num_layers == 2
    with pytest.raises(TransformerError, match="num_layers must be a positive integer; got -1"):
        config.replace(num_layers=-1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "brt"}, "family must be one of bert, .*; got 'brt'; did you mean 'bert'"),
        ({"num_layers": 0}, "num_layers must be a positive integer; got 0"),
        ({"vocabulary_size": True}, "vocabulary_size must be a positive integer; got True"),
        ({"hidden_dim": 24.0}, "hidden_dim must be a positive integer; got 24.0"),
        ({"num_heads": 5}, "hidden_dim must be a multiple of num_heads .*hidden_dim=24, num_heads=5"),
        ({"num_key_value_heads": 3}, "num_heads must be a multiple of num_key_value_heads; got 4 and 3"),
        ({"num_heads": (4, 2, 2), "head_dim": 6}, "num_heads must be one number, or 2, one for each block; got 3"),
        ({"num_heads": (4, 0), "head_dim": 6}, "num_heads of a block must be a positive integer; got 0"),
        ({"num_heads": (4, 2)}, "head_dim must be given where blocks have unlike num_heads; got None"),
        (
            {"num_heads": (4, 2), "head_dim": 6, "num_key_value_heads": 4},
            "num_heads must be a multiple of num_key_value_heads; got 2 and 4",
        ),
        (
            {"num_heads": (4, 2), "head_dim": 6, "position": "alibi"},
            "num_heads must be one number where blocks share a bias .*'alibi' positions; got",
        ),
        ({"num_distinct_blocks": 3}, "num_distinct_blocks must be at most num_layers, 2; got 3"),
        ({"num_segments": -1}, "num_segments must be 0 or a positive integer; got -1"),
        ({"position": "rotary", "head_dim": 5}, "head_dim must be even for rotary positions; got 5"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1; got 1.0"),
        ({"attention_dropout": -0.1}, "attention_dropout must be at least 0 and below 1; got -0.1"),
        ({"layer_norm_epsilon": 0.0}, "layer_norm_epsilon must be positive; got 0.0"),
        ({"layer_norm_epsilon": float("nan")}, "layer_norm_epsilon must be positive; got nan"),
        ({"activation": "gleu"}, "activation must be one of .*; got 'gleu'; did you mean 'gelu'"),
        ({"position": "learnt"}, "position must be one of .*; got 'learnt'; did you mean 'learned'"),
    ],
)
def test_mistakes_are_one_line(changes, message):
    with pytest.raises(TransformerError, match=message) as error:
        TransformerConfig(**{**SIZES, **changes})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON; line 1"),
        ("[1]", "must be a JSON object; got list"),
        ('{"num_layer": 2}', "unknown field 'num_layer' .*did you mean 'num_layers'"),
        ('{"num_layers": 2}', "needs vocabulary_size, hidden_dim, num_heads, intermediate_dim; they are missing"),
    ],
)
def test_files_that_are_no_config_are_named(text, message):
    with pytest.raises(TransformerError, match=message):
        TransformerConfig.from_json(text)
