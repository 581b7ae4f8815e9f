"""Masked-LM over packed rows: texts do not see each other, and only hidden places are projected."""

import numpy as np
import pytest
from keras import ops

from tftransformer.config import TransformerConfig
from tftransformer.data.shard_batches import ShardBatches
from tftransformer.data.shards import open_shards
from tftransformer.models.encoder import build_encoder
from tftransformer.models.walk import hidden_states, stack_of
from tftransformer.patterns import addresses
from tftransformer.pretraining.pretrainer import MaskedLanguageModelling, Pretrainer

FAMILIES = {
    "bert": {},
    "roberta": {},
    "distilbert": {},
    "albert": {"embedding_dim": 4},
    "electra": {"position": "rotary", "head_dim": 4},
    "transformer": {"position": "relative_buckets", "normalize_first": True},
}


def config_of(family="bert", size=100, **changes):
    return TransformerConfig(
        family, vocabulary_size=size, num_layers=2, hidden_dim=8, num_heads=2, intermediate_dim=16,
        max_sequence_length=16, dropout=0.0, **{**FAMILIES[family], **changes},
    )  # fmt: skip


def randomised(encoder):
    draw = np.random.default_rng(0)
    for name, variable in addresses(encoder).items():
        variable.assign(draw.normal(1.0 if name.endswith("gamma") else 0.0, 0.3, variable.shape))
    return encoder


@pytest.fixture(scope="module")
def packed(shard_folder):
    batches = ShardBatches(open_shards(shard_folder), sequence_length=16, batch_size=3, packed=True, mask_rate=0.3)
    return next(batches.stream())[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_has_the_same_vectors_in_a_packed_row_as_alone(family, packed):
    config = config_of(family)
    encoder = randomised(build_encoder(config))
    together = ops.convert_to_numpy(hidden_states(stack_of(encoder, config), packed)[-1])
    texts = [(row, n) for row in range(3) for n in range(1, packed["sequence_ids"][row].max() + 1)]
    assert len(texts) > 3, "the rows hold several texts"
    for row, number in texts:
        its = packed["sequence_ids"][row] == number
        ids = packed["token_ids"][row : row + 1, its]
        inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids), "segment_ids": np.zeros_like(ids)}
        alone = ops.convert_to_numpy(encoder({name: inputs[name] for name in encoder.input}))
        np.testing.assert_allclose(together[row, its], alone[0], atol=2e-5)


def test_a_changed_text_leaves_its_neighbours_bit_equal(packed):
    config = config_of()
    encoder = randomised(build_encoder(config))
    its = packed["sequence_ids"] == 1
    changed = {**packed, "token_ids": np.where(its, (packed["token_ids"] + 7) % 100, packed["token_ids"])}
    before, after = (ops.convert_to_numpy(hidden_states(stack_of(encoder, config), b)[-1]) for b in (packed, changed))
    others = (packed["sequence_ids"] > 1) & (packed["padding_mask"] == 1)
    assert others.any() and np.abs(before[its] - after[its]).max() > 0.1
    np.testing.assert_array_equal(before[others], after[others])


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_projecting_the_hidden_places_alone_gives_the_loss_of_all(family, packed):
    config = config_of(family)
    encoder = build_encoder(config)
    objective = MaskedLanguageModelling(encoder, config)
    hidden = np.random.default_rng(1).normal(size=(3, 16, 8)).astype("float32")
    found = float(objective.loss_terms([ops.convert_to_tensor(hidden)], packed)["masked_lm"])
    logits = ops.convert_to_numpy(objective.head(hidden.reshape(-1, 8))).astype("float64")
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    used = packed["mask_weights"] == 1
    assert used.any() and not used.all()
    all_places = -logs[packed["mask_places"][used], packed["mask_targets"][used]].mean()
    assert found == pytest.approx(all_places, rel=1e-5)


def test_a_batch_without_hidden_places_has_no_loss(packed):
    objective = MaskedLanguageModelling(build_encoder(config_of()), config_of())
    nothing = {**packed, "mask_weights": np.zeros_like(packed["mask_weights"])}
    assert float(objective.loss_terms([ops.ones((3, 16, 8))], nothing)["masked_lm"]) == 0.0


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_every_weight_is_trained_once_and_has_its_address(family):
    config = config_of(family)
    encoder = build_encoder(config)
    pretrainer = Pretrainer(encoder, config, [MaskedLanguageModelling(encoder, config)])
    trained = pretrainer.trainable_variables
    assert len({id(v) for v in trained}) == len(trained)
    found = pretrainer.addresses()
    assert {id(v) for v in trained} <= {id(v) for v in found.values()}
    width = 4 if family == "albert" else 8
    shapes = {name: tuple(v.shape) for name, v in found.items() if name.startswith("lm_head/")}
    assert shapes == {
        "lm_head/dense/kernel": (8, width),
        "lm_head/dense/bias": (width,),
        "lm_head/norm/gamma": (width,),
        "lm_head/norm/beta": (width,),
        "lm_head/bias": (100,),
    }
