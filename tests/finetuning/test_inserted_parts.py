"""LoRA, adapters and prefixes: their laws, whatever is put in, and the errors they share."""

import keras
import numpy as np
import pytest

from tftransformer.checkpoints import load_preset
from tftransformer.errors import TransformerError
from tftransformer.finetuning.adapter_config import adapter_config, restore_adapters
from tftransformer.finetuning.methods import IA3, METHODS, Adapter, DoRA, LoRA, Prefix
from tftransformer.finetuning.methods.adapter import adapter_names, remove_adapter, set_adapter
from tftransformer.finetuning.methods.prefix import remove_prefix
from tftransformer.finetuning.projection_deltas import load_changes, merge, save_changes, unmerge
from tftransformer.finetuning.strategy import parse_strategy
from tftransformer.patterns import addresses
from tftransformer.tasks.text_classifier import TextClassifier

PUT_IN = {
    "lora": lambda model: LoRA(rank=2, dropout=0.1).apply(model),
    "dora": lambda model: DoRA(rank=2, dropout=0.1).apply(model),
    "ia3": lambda model: IA3().apply(model),
    "houlsby": lambda model: Adapter(adapter="own", bottleneck_dim=3, kind="houlsby").apply(model),
    "pfeiffer": lambda model: Adapter(adapter="own", bottleneck_dim=3).apply(model),
    "prefix": lambda model: Prefix(length=3).apply(model),
}


# "pfeiffer" is half of "houlsby".
some = pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if kind == "pfeiffer" else ()) for kind in PUT_IN]
)


@pytest.fixture
def classifier(two_block_preset):
    keras.utils.set_random_seed(3)
    made = TextClassifier.from_preset(two_block_preset, labels=("negative", "positive"), sequence_length=16)
    made.run_eagerly = True  # predicting a few rows takes less time than tracing a graph for it
    return made


def values(model):
    return {name: keras.ops.convert_to_numpy(v).copy() for name, v in addresses(model).items()}


def train(classifier, reviews, epochs=1):
    texts, labels = reviews
    # Without a graph there is less to wait for; test_strategy_cover.py trains them in graphs.
    classifier.compile(learning_rate=1e-2, schedule="constant", run_eagerly=True)
    classifier.fit(texts, labels, batch_size=30, epochs=epochs, verbose=0, activation_cache="off")


def optimizer_of(classifier):
    classifier.compile()
    return classifier.optimizer


def shake(model, patterns=("lora", "adapters", "prefix")):
    """Put weights somewhere else than where they start."""
    draw = np.random.default_rng(0)
    for name, variable in addresses(model).items():
        if any(f"{pattern}/" in name for pattern in patterns):
            variable.assign(draw.normal(0, 0.3, variable.shape))


def test_lora_and_adapters_start_as_the_base(classifier, reviews):
    texts = reviews[0][:6]
    before = classifier.predict(texts, verbose=0)
    LoRA(rank=2).apply(classifier)
    np.testing.assert_array_equal(classifier.predict(texts, verbose=0), before)
    Adapter(bottleneck_dim=3).apply(classifier)
    np.testing.assert_allclose(classifier.predict(texts, verbose=0), before, atol=1e-4)


@some
def test_what_is_frozen_stays_bit_equal_and_the_rest_trains(kind, classifier, reviews):
    base = values(classifier)
    summary = PUT_IN[kind](classifier)
    started = values(classifier)
    train(classifier, reviews)
    after = values(classifier)
    assert summary.trainable_parameters < summary.total_parameters / 2
    for name in base:
        if not name.startswith("head/"):
            np.testing.assert_array_equal(after[name], base[name], err_msg=name)
    for name in set(started) - set(base):
        # The first step reaches A only through B, which is zero until then.
        assert np.abs(after[name] - started[name]).max() > 0, name
    assert np.abs(after["head/logits/kernel"] - base["head/logits/kernel"]).max() > 1e-3
    assert len(classifier.optimizer._momentums) == len(classifier.trainable_variables)
    # All of it starts from random numbers, and trains at the rate for that.
    fresh = {name for name, variable in addresses(classifier).items() if variable.trainable}
    assert set(optimizer_of(classifier).get_config()["rate_multipliers"]) == fresh


@some
def test_saved_and_loaded_it_predicts_the_same(kind, classifier, reviews, tmp_path):
    PUT_IN[kind](classifier)
    shake(classifier)
    expected = classifier.predict(reviews[0][:6], verbose=0)
    assert np.ptp(expected[:, 0]) > 1e-4
    classifier.save_to_preset(tmp_path / "preset")
    loaded = TextClassifier.from_preset(tmp_path / "preset")
    loaded.run_eagerly = True
    assert adapter_config(loaded) == adapter_config(classifier) != []
    np.testing.assert_array_equal(loaded.predict(reviews[0][:6], verbose=0), expected)
    with pytest.raises(TransformerError, match="format 'huggingface' has no place for"):
        classifier.save_to_preset(tmp_path / "hf", format="huggingface")
    with pytest.raises(TransformerError, match="holds changes of structure"):
        load_preset(tmp_path / "preset").build_encoder()


@pytest.mark.slow
@pytest.mark.parametrize("kind", PUT_IN)
def test_keras_files_and_exports_hold_it_too(kind, classifier, reviews, tmp_path):
    import tensorflow as tf

    PUT_IN[kind](classifier)
    train(classifier, reviews)
    shake(classifier)
    expected = classifier.predict(reviews[0][:6], verbose=0)
    classifier.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(reviews[0][:6], verbose=0), expected, atol=1e-6)
    assert len(loaded.trainable_variables) == len(classifier.trainable_variables)
    classifier.export(tmp_path / "serving")
    served = tf.saved_model.load(tmp_path / "serving").signatures["serving_default"]
    np.testing.assert_allclose(served(text=tf.constant(reviews[0][:6]))["probabilities"], expected, atol=1e-5)


def test_merged_equals_unmerged_and_back(classifier, reviews, tmp_path):
    texts = reviews[0][:6]
    base = values(classifier)
    LoRA(rank=2, alpha=5.0, targets=".*/(attention|feed_forward)/.*").apply(classifier)
    shake(classifier)
    expected = classifier.predict(texts, verbose=0)
    merge(classifier, remove=False)
    np.testing.assert_allclose(classifier.predict(texts, verbose=0), expected, atol=1e-6)
    unmerge(classifier)
    for name, value in base.items():
        np.testing.assert_allclose(values(classifier)[name], value, atol=1e-6, err_msg=name)
    merge(classifier)
    assert set(addresses(classifier)) == set(base) and not adapter_config(classifier)
    np.testing.assert_allclose(classifier.predict(texts, verbose=0), expected, atol=1e-6)
    classifier.save_to_preset(tmp_path / "merged")
    loaded = TextClassifier.from_preset(tmp_path / "merged")
    np.testing.assert_allclose(loaded.predict(texts, verbose=0), expected, atol=1e-6)


@pytest.mark.slow
def test_lora_alone_is_a_small_file(classifier, reviews, two_block_preset, tmp_path):
    LoRA(rank=2).apply(classifier)
    train(classifier, reviews)
    path = save_changes(classifier, tmp_path / "lora.safetensors")
    other = TextClassifier.from_preset(two_block_preset, labels=("negative", "positive"), sequence_length=16)
    load_changes(other, path)
    other.run_eagerly = True  # a graph may round otherwise
    expected = classifier.predict(reviews[0][:6], verbose=0)
    np.testing.assert_array_equal(other.predict(reviews[0][:6], verbose=0), expected)
    with pytest.raises(TransformerError, match="has no place for .* or is changed there already"):
        load_changes(other, path)
    three = TextClassifier.from_preset(two_block_preset, labels=("a", "b", "c"), sequence_length=16)
    with pytest.raises(TransformerError, match=r"'head/logits/.*' is \(.*2.*\) in it, \(.*3.*\) in the model"):
        load_changes(three, path)
    assert not adapter_config(three)
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(TransformerError, match="cannot be read"):
        load_changes(three, tmp_path / "text")
    with pytest.raises(TransformerError, match="is no file"):
        load_changes(three, tmp_path / "nothing")
    with pytest.raises(TransformerError, match="is none"):
        load_changes(three, two_block_preset / "model.safetensors")


def test_one_encoder_holds_several_adapters(classifier, reviews):
    texts = reviews[0][:6]
    plain = classifier.predict(texts, verbose=0)
    Adapter(adapter="a", bottleneck_dim=3).apply(classifier)
    shake(classifier)
    with_a = classifier.predict(texts, verbose=0)
    Adapter(adapter="b", bottleneck_dim=4, kind="houlsby").apply(classifier)
    assert set(adapter_names(classifier)) == {"a", "b"}
    trained = {name for name, v in addresses(classifier).items() if v.trainable}
    assert not any("/a/" in name for name in trained) and any("/b/" in name for name in trained)
    set_adapter(classifier, "a")
    np.testing.assert_array_equal(classifier.predict(texts, verbose=0), with_a)
    set_adapter(classifier, None)
    np.testing.assert_array_equal(classifier.predict(texts, verbose=0), plain)
    for name in ("a", "b"):
        remove_adapter(classifier, name)
    assert not adapter_config(classifier)
    np.testing.assert_array_equal(classifier.predict(texts, verbose=0), plain)


def test_a_prefix_of_no_weight_changes_nothing(classifier, reviews):
    texts = reviews[0][:2]
    plain = classifier.predict(texts, verbose=0)
    Prefix(length=3, targets="encoder_block_1/attention").apply(classifier)
    prefix = classifier.encoder.get_layer("encoder_block_1").attention.prefix
    changed = classifier.predict(texts, verbose=0)
    assert np.abs(changed - plain).max() > 1e-4
    # Values alone: that keys nobody looks at change nothing shows where padding ends up, too.
    prefix.values.assign(keras.ops.zeros(prefix.values.shape))
    prefix.keys.assign(keras.ops.zeros(prefix.keys.shape))
    alone = [classifier.predict([text], verbose=0)[0] for text in texts]
    np.testing.assert_allclose(classifier.predict(texts, verbose=0), alone, atol=1e-6)
    remove_prefix(classifier)
    np.testing.assert_array_equal(classifier.predict(texts, verbose=0), plain)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: LoRA(rank=0).apply(m), "rank must be a positive integer; got 0"),
        (lambda m: LoRA(rank=17).apply(m), "rank must be an integer from 1 to 16; got 17"),
        (lambda m: LoRA(alpha=0.0).apply(m), "alpha must be positive; got 0.0"),
        (lambda m: LoRA(dropout=1.0).apply(m), "dropout must be at least 0 and below 1; got 1.0"),
        (lambda m: LoRA(targets="encoder_block_0/attention/qery").apply(m), "targets: .* matches none .*query"),
        (lambda m: LoRA(train="hed/.*").apply(m), "patterns: 'hed/.*' matches none"),
        (lambda m: merge(m), "model must have LoRA, DoRA or IA3; got one without"),
        (lambda m: unmerge(m), "model must have merged LoRA; got one without"),
        (lambda m: save_changes(m, "x"), "model must have LoRA, DoRA or IA3; got one without"),
        (lambda m: Adapter(kind="pfeifer").apply(m), "kind must be one of .*; did you mean 'pfeiffer'"),
        (lambda m: Adapter(adapter="a/b").apply(m), "adapter must be letters, digits and underscores; got 'a/b'"),
        (lambda m: Adapter(activation="rellu").apply(m), "activation must be one of Keras's; got 'rellu'"),
        (lambda m: Adapter(bottleneck_dim=0).apply(m), "bottleneck_dim must be a positive integer; got 0"),
        (lambda m: set_adapter(m, "x"), r"name must be an adapter of the model \(it has none\); got 'x'"),
        (lambda m: remove_adapter(m, "x"), r"name must be an adapter of the model \(it has none\); got 'x'"),
        (lambda m: Prefix(0).apply(m), "length must be a positive integer; got 0"),
        (lambda m: Prefix(targets="nothing").apply(m), "targets: 'nothing' matches none"),
        (lambda m: remove_prefix(m), "model must have a prefix; got one without"),
        (lambda m: restore_adapters(m, [{"kind": "lore"}]), "modifications must be of the kinds .*; got 'lore'"),
        (lambda m: restore_adapters(m, [{"kind": "lora"}]), "a modification of kind 'lora' is damaged"),
        (
            lambda m: restore_adapters(m, [{"kind": "prefix", "length": 2, "targets": ["no"]}]),
            "the targets of prefix must be in the model; 'no' is not",
        ),
        (
            lambda m: restore_adapters(m, [{"kind": "lora", "targets": ["no"]}]),
            "the targets of lora must be in the model; 'no' is not",
        ),
        (lambda m: LoRA().apply(keras.Sequential([keras.layers.Dense(1)])), "model must be built"),
        (lambda m: Adapter().apply(m.head), "model must have encoder or decoder blocks"),
    ],
)  # fmt: skip
def test_wrong_changes_are_one_line_and_change_nothing(change, words, classifier):
    before = set(addresses(classifier))
    with pytest.raises(TransformerError, match=words):
        change(classifier)
    assert set(addresses(classifier)) == before and not adapter_config(classifier)
    assert all(variable.trainable for variable in addresses(classifier).values())


def test_nothing_is_put_in_twice(classifier):
    LoRA(rank=2).apply(classifier)
    with pytest.raises(TransformerError, match="has lora already: merge or remove it first"):
        LoRA(rank=2).apply(classifier)
    Adapter(adapter="a").apply(classifier)
    with pytest.raises(TransformerError, match="adapter must be a new name; the model has 'a' already"):
        Adapter(adapter="a").apply(classifier)
    with pytest.raises(TransformerError, match=r"\(a\); got 'b'"):
        set_adapter(classifier, "b")
    Prefix(2).apply(classifier)
    with pytest.raises(TransformerError, match="has prefix already"):
        Prefix(2).apply(classifier)


@pytest.mark.parametrize(
    "name", ["full", "freeze:1", "head", "bitfit", "lora:2", "dora:2", "ia3", "adapter:3", "prefix:2"]
)
def test_strategies_by_their_short_names(name, classifier):
    strategy = parse_strategy(name)
    assert str(strategy) == name
    strategy.apply(classifier)
    trained = {name for name, v in addresses(classifier).items() if v.trainable}
    assert {"head/logits/kernel", "head/logits/bias"} <= trained
    assert (len(trained) == len(addresses(classifier))) == (name == "full")
    if name == "bitfit":
        assert all(n.endswith(("/bias", "/beta")) or n.startswith("head/") for n in trained)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("frezee:8", "strategy must be one of full, .*; got 'frezee:8'; did you mean 'freeze'"),
        ("freeze:-1", "strategy freeze takes an integer of at least 0; got 'freeze:-1'"),
        ("lora:x", "strategy lora takes a positive integer; got 'lora:x'"),
        ("lora:", "strategy lora takes a positive integer; got 'lora:'"),
        ("full:3", "strategy full takes no number; got 'full:3'"),
    ],
)
def test_wrong_names_of_strategies(text, words):
    with pytest.raises(TransformerError, match=words):
        parse_strategy(text)


def test_defaults_of_strategies():
    assert {str(parse_strategy(name)) for name in METHODS} >= {"full", "freeze:8", "lora:8", "adapter:48"}
