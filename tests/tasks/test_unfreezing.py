"""Gradual unfreezing and layer-wise rates in a classifier's own `fit` and `compile`."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.finetuning import SGD, freeze
from tftransformer.finetuning.activation_cache import ActivationCache
from tftransformer.finetuning.activation_store import folder_size
from tftransformer.finetuning.methods import GradualUnfreezing, LayerwiseRates
from tftransformer.finetuning.strategy import parse_strategy
from tftransformer.patterns import addresses
from tftransformer.tasks import TextClassifier


def build(preset, **options):
    keras.utils.set_random_seed(3)
    options = {"dropout": 0.0, "head_dropout": 0.0, "sequence_length": 16, **options}
    return TextClassifier.from_preset(preset, labels=("negative", "positive"), **options)


def values(classifier):
    return {name: keras.ops.convert_to_numpy(v).copy() for name, v in addresses(classifier).items()}


def train(classifier, reviews, epochs, **options):
    texts, labels = reviews
    options = {"batch_size": 16, "verbose": 0, "activation_cache": "off", **options}
    return classifier.fit(texts, labels, epochs=epochs, **options)


def difference(one, two):
    return max(np.abs(one[name] - two[name]).max() for name in one)


class Sizes(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.training, self.slots = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.training.append(len(self.model.trainable_variables))
        self.slots.append(len(self.model.optimizer._momentums))


@pytest.mark.slow
def test_the_strategy_trains_in_stages_and_everything_may_train_afterwards(two_block_preset, reviews, capsys):
    classifier = build(two_block_preset)
    classifier.apply("unfreeze")
    classifier.compile(learning_rate=1e-3)
    sizes = Sizes()
    history = train(classifier, reviews, 3, callbacks=sizes, verbose=2)
    assert history.epoch == [0, 1, 2]
    assert sizes.slots == sizes.training == sorted(set(sizes.training))
    assert sizes.training[-1] == len(classifier.trainable_variables) == len(addresses(classifier))
    said = capsys.readouterr().out
    assert "unfreezing: what lies above the blocks from epoch 1; encoder_block_1 from epoch 2;" in said
    assert "Epoch 3/3" in said


@pytest.mark.slow
def test_all_stages_in_one_equal_full_training(two_block_preset, reviews):
    results = []
    for method in ("full", GradualUnfreezing(blocks_per_stage=2, start="block")):
        classifier = build(two_block_preset, dropout=0.1)
        classifier.apply(method)
        classifier.compile(learning_rate=1e-2)
        train(classifier, reviews, 2)
        results.append(values(classifier))
    assert difference(*results) == 0


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [3, 6])
def test_stages_from_stored_outputs_are_the_same(two_block_preset, reviews, tmp_path, epochs):
    said = []
    caches = ("off", ActivationCache(tmp_path / "cache", say=said.append))
    results = []
    for cache in caches:
        classifier = build(two_block_preset, pooling="mean")
        classifier.compile(SGD(0.1), run_eagerly=epochs == 3)  # less to wait for than traces
        classifier.apply(GradualUnfreezing(epochs_per_stage=epochs // 3))
        start = values(classifier)
        history = train(classifier, reviews, epochs, activation_cache=cache, validation_split=0.2).history
        results.append((values(classifier), history))
    (plain, history), (cached, stored) = results
    assert difference(plain, start) > 1e-2 and difference(plain, cached) < 1e-6
    for name, row in history.items():
        np.testing.assert_allclose(stored[name], row, atol=1e-5)
    # Two parts are frozen for some time; each text runs through both once, the upper one from the lower one's.
    assert len([line for line in said if "run once" in line or "rows that are new" in line]) == 2


def test_a_longer_part_goes_on_from_a_shorter_one(two_block_preset, reviews, tmp_path):
    classifier = build(two_block_preset)
    data = classifier.preprocess(*reviews)
    freeze(classifier, layers=2)
    upper = classifier.frozen_part()
    direct, chained = (ActivationCache(tmp_path / name, say=lambda line: None) for name in ("direct", "chained"))
    lower = type(upper)(upper.encoder, upper.config, 1, "tokens", upper.pooler)
    assert chained.states(lower, [data], 2) is not None
    embeddings = classifier.encoder.get_layer("embeddings")
    called, embeddings.call = embeddings.call, None
    try:
        states = chained.states(upper, [data], 2, lower=lower)
    finally:
        embeddings.call = called
    expected = direct.states(upper, [data], 2)
    batches = classifier.ordered_batches(replace(data, numbered=True), 64)[0]
    rows = [next(iter(s.batches(batches, data)))[0] for s in (states, expected)]
    assert np.ptp(rows[0][upper.entry]) > 0.1
    np.testing.assert_allclose(rows[0][upper.entry], rows[1][upper.entry], atol=1e-6)


def test_a_longer_part_does_not_take_the_room_of_the_one_it_goes_on_from(two_block_preset, reviews):
    classifier = build(two_block_preset)
    data = classifier.preprocess(*reviews)
    freeze(classifier, layers=2)
    upper = classifier.frozen_part()
    lower = type(upper)(upper.encoder, upper.config, 1, "tokens", upper.pooler)
    cache = ActivationCache(say=lambda line: None)
    cache.states(lower, [data], 2)
    cache.max_bytes = folder_size(cache.folder)
    assert cache.states(upper, [data], 2, lower=lower) is None
    assert len(cache._store(lower))
    assert cache.states(upper, [data], 2) is not None and not len(cache._store(lower)), "else it would"


def test_layerwise_rates(two_block_preset, reviews):
    classifier = build(two_block_preset)
    classifier.apply("layerwise:0.5")
    classifier.compile(learning_rate=1e-3)
    classifier.optimizer.build(classifier.trainable_variables)
    factors = dict(zip((v.path for v in classifier.trainable_variables), classifier.optimizer._rate_factors))

    def factor(part):
        (found,) = {value for path, value in factors.items() if f"/{part}/" in f"/{path}"}
        return found

    assert [factor(f"encoder_block_{i}") for i in (1, 0)] == [1.0, 0.5]
    assert factor("embeddings") == 0.25 and factor("head") == 1.0
    with pytest.raises(TransformerError, match="layerwise:0.5 cannot go with an optimizer: give the optimizer"):
        classifier.compile(SGD(0.1))
    train(classifier, reviews, 1)
    classifier.apply(LayerwiseRates(0.7))
    with pytest.raises(TransformerError, match="must be called again before fit.*layerwise:0.7 was applied"):
        train(classifier, reviews, 1)
    classifier.apply("full")
    with pytest.raises(TransformerError, match="layerwise:0.5 was applied or taken back"):
        train(classifier, reviews, 1)


def test_layerwise_rates_of_one_are_plain(two_block_preset):
    classifier = build(two_block_preset)
    made = []
    for method in ("full", LayerwiseRates(1.0)):
        classifier.apply(method)
        classifier.compile(learning_rate=1e-3, schedule="slanted_triangular")
        classifier.optimizer.build(classifier.trainable_variables)
        made.append(classifier.optimizer)
    plain, layerwise = made
    assert plain._rate_factors == layerwise._rate_factors and plain._decayed == layerwise._decayed
    configs = [optimizer.get_config() for optimizer in made]
    assert configs[0].pop("rate_multipliers") != configs[1].pop("rate_multipliers")
    assert configs[0] == configs[1]


@pytest.mark.slow
def test_a_model_saved_between_two_stages_loads(two_block_preset, reviews, tmp_path):
    classifier = build(two_block_preset)
    classifier.apply([LayerwiseRates(0.9), GradualUnfreezing()])
    classifier.compile(learning_rate=1e-3)
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    train(classifier, reviews, 3, callbacks=[checkpoint])
    for epoch in (1, 2, 3):
        loaded = keras.models.load_model(tmp_path / f"{epoch}.keras")
        assert len(loaded.optimizer._momentums) == len(loaded.trainable_variables)
        assert int(loaded.optimizer.iterations) == 4 * epoch
    np.testing.assert_array_equal(loaded.optimizer.unfreeze_steps, classifier.optimizer.unfreeze_steps)
    assert difference(values(loaded), values(classifier)) == 0


@pytest.mark.slow
def test_bitfit_trains_biases_and_what_is_fresh_alone(two_block_preset, reviews):
    classifier = build(two_block_preset)
    start = values(classifier)
    parse_strategy("bitfit").apply(classifier)
    classifier.compile(learning_rate=1e-2, schedule="constant")
    train(classifier, reviews, 1)
    moved = {name for name, value in values(classifier).items() if (value != start[name]).any()}
    allowed = {name for name in start if name.endswith(("/bias", "/beta")) or name.startswith("head/")}
    # A key's bias moves all scores of a query alike, which the softmax takes back.
    assert allowed - {name for name in allowed if "attention/key/" in name} <= moved <= allowed
    assert len(classifier.optimizer._momentums) == len(allowed)


def test_stages_that_unfreeze_nothing(two_block_preset, reviews):
    classifier = build(two_block_preset)
    classifier.apply(GradualUnfreezing())
    with pytest.raises(TransformerError, match="unfreezing unfreezes nothing in epochs=1"):
        train(classifier, reviews, 1)
    freeze(classifier, layers=2)
    with pytest.raises(TransformerError, match="nothing to unfreeze: all blocks are frozen"):
        train(classifier, reviews, 4)
