"""Strategies that change no model but bring arguments for `compile` and `fit`."""

import pytest

from tftransformer.errors import TransformerError
from tftransformer.finetuning.strategy import parse_strategy
from tftransformer.finetuning.unfreezing import GradualUnfreezing
from tftransformer.patterns import addresses


@pytest.mark.parametrize(
    ("text", "written", "brought"),
    [
        ("unfreeze", "unfreeze:1", {"fit": {"unfreezing": GradualUnfreezing()}}),
        ("unfreeze:3", "unfreeze:3", {"fit": {"unfreezing": GradualUnfreezing(blocks_per_stage=3)}}),
        ("layerwise", "layerwise:0.9", {"compile": {"layer_decay": 0.9}}),
        ("layerwise:1", "layerwise:1.0", {"compile": {"layer_decay": 1.0}}),
    ],
)
def test_what_strategies_bring(small, text, written, brought):
    model = small.build_model()
    strategy = parse_strategy(text)
    assert str(strategy) == written and parse_strategy(written) == strategy
    assert strategy.apply(model) == brought
    assert all(weight.trainable for weight in addresses(model).values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unfreze", "strategy must be one of full, .*; got 'unfreze'; did you mean 'unfreeze'"),
        ("unfreeze:0", "strategy unfreeze takes a positive integer; got 'unfreeze:0'"),
        ("unfreeze:1.5", "strategy unfreeze takes a positive integer; got 'unfreeze:1.5'"),
        ("layerwise:0", "strategy layerwise takes a number above 0 and at most 1; got 'layerwise:0'"),
        ("layerwise:2", "strategy layerwise takes a number above 0 and at most 1; got 'layerwise:2'"),
        ("layerwise:nan", "strategy layerwise takes a number above 0 and at most 1; got 'layerwise:nan'"),
        ("layerwise:", "strategy layerwise takes a number above 0 and at most 1; got 'layerwise:'"),
    ],
)
def test_bad_numbers(text, message):
    with pytest.raises(TransformerError, match=message) as caught:
        parse_strategy(text)
    assert "\n" not in str(caught.value)
