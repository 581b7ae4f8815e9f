"""Pruned heads: what stays computes what it did, what goes is really gone, and the rest of the house takes the result."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.checkpoints import load_preset
from tftransformer.checkpoints.describe import describe
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.export.inference_graph import is_plain
from tftransformer.finetuning.adapter_config import adapter_config
from tftransformer.finetuning.freezing import freeze, frozen_addresses
from tftransformer.finetuning.methods import Adapter, LoRA, Prefix
from tftransformer.finetuning.projection_deltas import merge, unmerge
from tftransformer.finetuning.pruning import choose_heads, prune_heads
from tftransformer.models.decoder import build_decoder
from tftransformer.patterns import addresses
from tftransformer.tasks.text_classifier import TextClassifier
from tftransformer.text import WordPieceTokenizer

WIDTH, HEADS, HEAD = 16, 4, 4
PRUNED = {0: [1, 3], 2: [0]}


@pytest.fixture(scope="module")
def make(tiny_vocabulary):
    """A classifier of three blocks of four heads whose every weight is random."""

    def build(family="bert", seed=5, **options):
        own = {"pooling": "mean", "sequence_length": 16}
        own |= {name: options.pop(name) for name in ("extra_blocks", "multi_label") if name in options}
        sizes = {"num_layers": 3, "hidden_dim": WIDTH, "num_heads": HEADS, "intermediate_dim": 24}
        config = TransformerConfig(
            family, vocabulary_size=len(tiny_vocabulary), max_sequence_length=32, **{**sizes, **options}
        )
        classifier = TextClassifier(config, WordPieceTokenizer(tiny_vocabulary), ("a", "b", "c"), **own)
        shake(classifier, seed)
        return classifier

    return build


@pytest.fixture(scope="module")
def classifier(make):
    """One that no test changes."""
    return make()


def shake(classifier, seed=5):
    draw = np.random.default_rng(seed)
    for name, variable in addresses(classifier).items():
        variable.assign(draw.normal(1.0 if name.endswith("gamma") else 0.0, 0.4, variable.shape))


def inputs(classifier, reviews):
    examples = classifier.preprocess(reviews[0][:6])
    return examples.features(np.arange(6), int(examples.lengths.max()))


def logits(classifier, reviews):
    return keras.ops.convert_to_numpy(classifier(inputs(classifier, reviews), training=False))


def values(model):
    return {name: keras.ops.convert_to_numpy(v) for name, v in addresses(model).items()}


def silence(classifier, heads):
    """Have nobody hear some heads, by zeros in the rows of the output that read them."""
    found = addresses(classifier)
    for block, numbers in heads.items():
        for name in ("kernel", "lora/down"):
            variable = found.get(f"encoder_block_{block}/attention/output/{name}")
            if variable is not None:
                value = np.array(variable)
                for number in numbers:
                    value[number * HEAD : (number + 1) * HEAD] = 0.0
                variable.assign(value)


# Laws


@pytest.mark.parametrize("nothing", [{1: []}, pytest.param({}, marks=pytest.mark.slow)])
def test_pruning_nothing_changes_nothing(classifier, reviews, nothing):
    same = prune_heads(classifier, nothing)
    assert same is not classifier and same.config == classifier.config
    before, after = values(classifier), values(same)
    assert list(after) == list(before)
    for name in before:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    np.testing.assert_array_equal(logits(same, reviews), logits(classifier, reviews))


KINDS = {
    "bert": {},
    "pre-norm, gated, without biases": {"normalize_first": True, "gated": True, "use_bias": False},
    "rotary": {"position": "rotary"},
    "relative": {"position": "relative"},
    "wide embeddings": {"embedding_dim": 8},
}


@pytest.mark.parametrize(
    "kind", [kind if kind == "bert" else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_heads_that_nobody_hears_are_not_missed(make, reviews, kind):
    classifier = make(**KINDS[kind])
    whole = logits(classifier, reviews)
    silence(classifier, PRUNED)
    expected = logits(classifier, reviews)
    assert np.abs(expected - whole).max() > 1e-2
    small = prune_heads(classifier, PRUNED)
    assert small.config.num_heads == (2, 4, 3) == small.config.num_key_value_heads
    np.testing.assert_allclose(logits(small, reviews), expected, atol=1e-6)
    bias = 0 if "without biases" in kind else 3 * HEAD
    assert classifier.count_params() - small.count_params() == 3 * (4 * WIDTH * HEAD + bias)
    np.testing.assert_array_equal(logits(classifier, reviews), expected)


def test_other_heads_are_missed(make, reviews):
    classifier = make()
    silence(classifier, PRUNED)
    expected = logits(classifier, reviews)
    for other in ({0: [0, 3], 2: [0]}, {0: [1, 3], 1: [0]}):
        assert np.abs(logits(prune_heads(classifier, other), reviews) - expected).max() > 1e-3


def test_shared_blocks_lose_a_head_everywhere(make, reviews):
    classifier = make("albert", embedding_dim=8)
    silence(classifier, {0: [2]})
    small = prune_heads(classifier, {0: [2]})
    assert (small.config.num_heads, small.config.num_layers) == (3, 3)
    np.testing.assert_allclose(logits(small, reviews), logits(classifier, reviews), atol=1e-6)


@pytest.mark.slow
def test_pruned_again_is_pruned_at_once(make, reviews):
    classifier = make()
    once = prune_heads(classifier, {0: [1, 3], 1: [2]})
    twice = prune_heads(prune_heads(classifier, {0: [3]}), {0: [1], 1: [2]})
    assert twice.config == once.config
    np.testing.assert_array_equal(logits(twice, reviews), logits(once, reviews))
    back = prune_heads(once, {1: [0], 2: [0, 1]})
    assert back.config.num_heads == 2


# What the model carried


def test_what_was_put_in_and_what_is_frozen_come_along(make, reviews):
    classifier = make()
    freeze(classifier, layers=1)
    LoRA(rank=2, targets=r"encoder_block_\d/attention/.*").apply(classifier)
    Adapter(bottleneck_dim=3).apply(classifier)
    Prefix(length=2).apply(classifier)
    shake(classifier)
    silence(classifier, PRUNED)
    small = prune_heads(classifier, PRUNED)
    np.testing.assert_allclose(logits(small, reviews), logits(classifier, reviews), atol=1e-6)
    assert adapter_config(small) == adapter_config(classifier)
    assert set(frozen_addresses(small)) == set(frozen_addresses(classifier))
    trained = [{name for name, v in addresses(model).items() if v.trainable} for model in (small, classifier)]
    assert trained[0] == trained[1]
    assert small.newly_initialized == classifier.newly_initialized and small.seed == classifier.seed


@pytest.mark.slow
def test_merged_lora_can_be_taken_out_of_what_is_left(make, reviews):
    classifier = make()
    LoRA(rank=2, targets=r"encoder_block_\d/attention/.*").apply(classifier)
    shake(classifier)
    merge(classifier, remove=False)
    small = prune_heads(classifier, PRUNED)
    expected = logits(small, reviews)
    unmerge(small)
    np.testing.assert_allclose(logits(small, reviews), expected, atol=1e-5)
    merge(small)
    np.testing.assert_allclose(logits(small, reviews), expected, atol=1e-5)


def test_it_saves_and_loads(classifier, reviews, tmp_path):
    small = prune_heads(classifier, PRUNED)
    expected = logits(small, reviews)
    small.save_to_preset(tmp_path / "preset")
    assert json.loads((tmp_path / "preset" / "preset.json").read_text())["config"]["num_heads"] == [2, 4, 3]
    loaded = TextClassifier.from_preset(tmp_path / "preset")
    assert loaded.config == small.config
    np.testing.assert_array_equal(logits(loaded, reviews), expected)
    assert load_preset(tmp_path / "preset").build_encoder().count_params() == small.encoder.count_params()
    assert "2 to 4 heads of 4, feed-forward 24" in str(describe(tmp_path / "preset"))


@pytest.mark.slow
def test_the_servers_form_gives_the_same(classifier, reviews):
    small = prune_heads(classifier, PRUNED)
    given = {name: tf.constant(value) for name, value in inputs(small, reviews).items()}
    assert is_plain(small.encoder.get_layer("encoder_block_0"))
    served = tf.function(small.served_network(), autograph=False)(given)
    np.testing.assert_allclose(served, logits(small, reviews), atol=1e-5)


@pytest.mark.slow
def test_it_trains_behind_a_frozen_part(make, reviews):
    texts, labels = reviews[0], ["a" if label == "negative" else "b" for label in reviews[1]]
    stored, plain = (prune_heads(make(), PRUNED) for _ in range(2))
    before = values(stored)
    for small, cache in ((stored, "auto"), (plain, "off")):
        freeze(small, layers=2)
        small.compile(learning_rate=1e-2, schedule="constant", weight_decay=0.0)
        small.fit(texts, labels, batch_size=20, epochs=2, verbose=0, activation_cache=cache, packing=cache == "off")
    after = values(stored)
    for name in before:
        moved = np.abs(after[name] - before[name]).max() > 0
        frozen = name.startswith(("embeddings/", "encoder_block_0/", "encoder_block_1/"))
        assert moved != frozen or name.endswith("key/bias"), name


def test_huggingface_has_no_place_for_it(classifier, tmp_path):
    small = prune_heads(classifier, PRUNED)
    with pytest.raises(TransformerError, match="Bert must have as many heads in every block; .* have 2, 4, 3"):
        small.save_to_preset(tmp_path / "unlike", format="huggingface", head=False)
    alike = prune_heads(classifier, {0: [0], 1: [1], 2: [2]})
    with pytest.raises(TransformerError, match="must have heads of hidden_dim / num_heads; got 4"):
        alike.save_to_preset(tmp_path / "alike", format="huggingface", head=False)
    assert not list(tmp_path.iterdir())


# Which heads


def test_the_lowest_scores_go_and_each_block_keeps_its_best():
    scores = {0: [0.9, 0.1, 0.5], 1: np.array([0.2, 0.3, 0.04]), 2: [0.7, 0.8, 0.9]}
    assert choose_heads(scores, 0.0) == {} == choose_heads({}, 0.5)
    assert choose_heads(scores, np.float32(0.34)) == choose_heads(scores, 0.34)
    assert choose_heads(scores, 0.34) == {0: [1], 1: [0, 2]}
    assert choose_heads(scores, 0.5) == {0: [1, 2], 1: [0, 2]}
    assert choose_heads(scores, 0.67) == {0: [1, 2], 1: [0, 2], 2: [0, 1]}
    assert choose_heads({0: range(10)}, 0.3) == {0: [0, 1, 2]}
    assert sum(map(len, choose_heads({i: [1.0] * 12 for i in range(12)}, 0.3).values())) == 43


def test_a_fraction_is_pruned_by_its_scores(classifier):
    scores = {0: [1, 0, 1, 0], 1: [1, 1, 1, 1], 2: [0, 1, 1, 1]}
    small, expected = prune_heads(classifier, fraction=0.25, scores=scores), prune_heads(classifier, PRUNED)
    assert small.config == expected.config
    kernel = "encoder_block_0/attention/query/kernel"
    np.testing.assert_array_equal(addresses(small)[kernel], addresses(expected)[kernel])


# Errors

ROW = [1.0] * 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(heads={3: [0]}), "heads must be of blocks between 0 and 2; got block 3"),
        (dict(heads={-1: [0]}), "heads must be of blocks between 0 and 2; got block -1"),
        (dict(heads={"0": [0]}), "blocks must be whole numbers; got '0'"),
        (dict(heads={1: [0, 4]}), "heads of block 1 must be between 0 and 3; got 4"),
        (dict(heads={1: [0.5]}), "heads of block 1 must be whole numbers; got 0.5"),
        (dict(heads={1: 2}), "heads of block 1 must be a list of numbers; got 2"),
        (dict(heads={1: [0, 1, 2, 3]}), "leave each block one at least; block 1 has 4 and would lose them all"),
        (dict(heads=[0, 1]), r"heads must be a dict from blocks to heads, .*; got \[0, 1\]"),
        (dict(), "either heads, by block, or fraction .*; got heads=None, fraction=None, no scores"),
        (dict(fraction=0.3), "either heads, .* got heads=None, fraction=0.3, no scores"),
        (dict(heads={}, fraction=0.3, scores={}), "either heads"),
        (dict(heads={}, scores={}), "either heads"),
        (dict(fraction=0.3, scores={0: ROW}), r"scores must be of head_importance .*; got \{0: 4\}"),
        (dict(fraction=0.3, scores=[ROW] * 3), "scores must be a dict, as head_importance returns it; got"),
        (dict(fraction=0.3, scores={i: "abcd" for i in range(3)}), "scores of block 0 must be .*; got 'abcd'"),
        (dict(fraction=0.3, scores={i: [ROW] for i in range(3)}), "scores of block 0 must be finite numbers; got"),
        (dict(fraction=0.3, scores={0: None}), "scores of block 0 must be finite numbers; got None"),
        (dict(fraction=1.0, scores={i: ROW for i in range(3)}), "fraction must be at least 0 and below 1; got 1.0"),
        (dict(fraction="x", scores={i: ROW for i in range(3)}), "fraction must be a number; got 'x'"),
        (
            dict(fraction=0.9, scores={i: ROW for i in range(3)}),
            "fraction must leave each of 3 blocks a head, so be at most 0.75 of the 12 heads; got 0.9",
        ),
        (dict(fraction=0.3, scores={i: [float("nan")] * 4 for i in range(3)}), "must be finite numbers; got"),
    ],
)  # fmt: skip
def test_wrong_heads_are_one_line(arguments, words, classifier):
    with pytest.raises(TransformerError, match=words) as error:
        prune_heads(classifier, **arguments)
    assert "\n" not in str(error.value)


def test_heads_that_share_something_stay(make):
    with pytest.raises(TransformerError, match="keys and values of their own .* 4 heads with 2"):
        prune_heads(make(num_key_value_heads=2), {0: [1]})
    with pytest.raises(TransformerError, match="share a bias over the blocks .* 'alibi' positions"):
        prune_heads(make(position="alibi"), {0: [1]})


@pytest.mark.slow
def test_a_block_beside_the_encoder_is_like_its_widest(make, reviews):
    classifier = make(extra_blocks=1)
    silence(classifier, PRUNED)
    small = prune_heads(classifier, PRUNED)
    np.testing.assert_allclose(logits(small, reviews), logits(classifier, reviews), atol=1e-6)
    with pytest.raises(TransformerError, match="must keep as many heads as extra_block_0 has, .* got 3 at most"):
        prune_heads(classifier, {i: [0] for i in range(3)})


def test_only_tasks_and_encoders(classifier):
    with pytest.raises(TransformerError, match="task must be a model with an encoder .*; got a Functional"):
        prune_heads(classifier.encoder, {0: [1]})
    config = TransformerConfig(
        "gpt2", vocabulary_size=9, num_layers=2, hidden_dim=8, num_heads=(2, 1), head_dim=4, intermediate_dim=8
    )
    with pytest.raises(TransformerError, match=r"num_heads must be one number in decoders; got \(2, 1\)"):
        build_decoder(config)
