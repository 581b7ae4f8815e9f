"""Addresses stay the same however a layer is wrapped, and patterns select whole names or fail."""

import keras
import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.layers import ClassificationHead, EncoderBlock, FeedForward, RelativePosition, TransformerEmbedding
from tftransformer.patterns import address, addresses, copy_weights, leaf_layers, select


def encoder(name="encoder", layer="encoder_block_0"):
    inputs = keras.Input((None, 8))
    return keras.Model(inputs, EncoderBlock(2, 16, name=layer, position=RelativePosition(2))(inputs), name=name)


class Wrapper(keras.Model):
    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner
        self.head = ClassificationHead(3, name="head")

    def call(self, x):
        return self.head(self.inner(x)[:, 0])


def test_addresses_are_names_of_layers_and_the_path_inside():
    names = list(addresses(encoder()))
    assert len(names) == len(set(names)) == 18
    assert "encoder_block_0/attention/query/kernel" in names and "encoder_block_0/attention/position/keys" in names


@pytest.mark.parametrize("name", ["task", "head", "encoder", "encoder_block_0", "attention"])
def test_a_wrapping_subclass_changes_no_address(name):
    inner = encoder()
    task = Wrapper(inner, name=name)
    task(np.zeros((1, 3, 8)))
    assert list(addresses(task)) == [*addresses(inner), "head/logits/kernel", "head/logits/bias"]
    assert address(task.head.logits.kernel, task.head) == "head/logits/kernel"


def test_a_wrapper_around_a_wrapper_and_a_functional_in_a_functional_change_none():
    inner = encoder()
    middle = Wrapper(inner, name="middle")
    inputs = keras.Input((None, 8))
    outer = keras.Model(inputs, keras.layers.Dense(2, name="dense")(middle(inputs)), name="outer")
    expected = [*addresses(inner), "head/logits/kernel", "head/logits/bias", "dense/kernel", "dense/bias"]
    assert list(addresses(outer)) == expected
    assert [layer.name for layer in leaf_layers(outer) if layer.weights] == ["encoder_block_0", "head", "dense"]


def test_layers_that_hold_sublayers_of_the_same_names_stay_apart():
    inputs = keras.Input((None, 8))
    x = EncoderBlock(2, 16, name="feed_forward")(inputs)  # as its own sublayer is called
    x = FeedForward(16, name="output")(x)  # the same
    x = EncoderBlock(2, 16, name="encoder_block_1")(x)
    names = set(addresses(keras.Model(inputs, x)))
    assert "feed_forward/feed_forward/output/kernel" in names and "feed_forward/attention/output/kernel" in names
    assert "output/intermediate/kernel" in names and "output/output/kernel" in names
    assert len(names) == 2 * 16 + 4


@pytest.mark.parametrize("how", ["called", "built", "loaded", "cloned"])
def test_a_layer_has_the_same_addresses_however_it_was_built(how, tmp_path):
    if how == "called":
        layer = EncoderBlock(2, 16, name="encoder_block_0", position=RelativePosition(2))
        layer(np.zeros((1, 3, 8)))
    elif how == "built":
        layer = EncoderBlock(2, 16, name="encoder_block_0", position=RelativePosition(2))
        layer.build((None, None, 8))
    elif how == "loaded":
        encoder().save(tmp_path / "x.keras")
        layer = keras.models.load_model(tmp_path / "x.keras")
    else:
        layer = keras.models.clone_model(encoder())
    assert list(addresses(layer)) == list(addresses(encoder()))


def test_a_layer_built_in_a_model_keeps_its_addresses_alone():
    model = encoder()
    assert list(addresses(model.get_layer("encoder_block_0"))) == list(addresses(model))


def test_optimizers_metrics_and_random_states_have_no_address():
    inner = encoder()
    inputs = keras.Input((None, 8))
    x = keras.layers.Dropout(0.5, name="dropout")(inner(inputs))
    model = keras.Model(inputs, x)
    model.compile("adam", "mse", metrics=["mae"], run_eagerly=True)
    model.fit(np.zeros((2, 3, 8)), np.zeros((2, 3, 8)), verbose=0, epochs=1)
    assert list(addresses(model)) == list(addresses(inner))


def test_a_shared_layer_counts_once():
    block = EncoderBlock(2, 16, name="encoder_block_0")
    inputs = keras.Input((None, 8))
    assert len(addresses(keras.Model(inputs, block(block(inputs))))) == 16


def test_two_weights_of_one_address_are_an_error():
    inputs = keras.Input((None, 8))
    model = keras.Model(inputs, encoder("b")(encoder("a")(inputs)))
    with pytest.raises(TransformerError, match="two weights have the address 'encoder_block_0/"):
        addresses(model)


def test_embeddings_addresses():
    layer = TransformerEmbedding(9, 4, num_segments=2, name="embeddings")
    layer.build((None, None))
    assert set(addresses(layer)) == {
        "embeddings/token/embeddings", "embeddings/position/embeddings", "embeddings/segment/embeddings",
        "embeddings/norm/gamma", "embeddings/norm/beta",
    }  # fmt: skip


def test_select_matches_whole_names_and_keeps_their_order():
    names = ["block_0/kernel", "block_1/kernel", "block_10/kernel", "head/kernel"]
    assert select(names, "block_1/.*") == ["block_1/kernel"]
    assert select(names, ["head/.*", r"block_\d/.*"]) == ["block_0/kernel", "block_1/kernel", "head/kernel"]
    assert select(names, []) == []
    assert select(iter(names), ".*") == names


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("block_1", "freeze: 'block_1' matches none of the 1 names; did you mean 'block_1/kernel'"),
        ("block_(", r"freeze: 'block_\(' is not a regular expression"),
    ],
)
def test_a_pattern_that_selects_nothing_is_an_error(pattern, message):
    with pytest.raises(TransformerError, match=message) as error:
        select(["block_1/kernel"], pattern, argument="freeze")
    assert "\n" not in str(error.value)


def dense(units, names):
    layers = {name: keras.layers.Dense(units, name=name) for name in names}
    return keras.Sequential([keras.Input((units,)), *layers.values()])


def test_weights_are_copied_by_address_not_by_position():
    one, two = dense(3, ["a", "b"]), dense(3, ["b", "a"])
    copy_weights(one, two)
    for name, variable in addresses(two).items():
        np.testing.assert_array_equal(variable, addresses(one)[name])


@pytest.mark.parametrize(("source", "target"), [((3, "ab"), (3, "a")), ((3, "a"), (3, "ab")), ((3, "ab"), (2, "ab"))])
def test_weights_without_a_place_are_refused_and_nothing_is_copied(source, target):
    one, two = dense(*source), dense(*target)
    before = two.get_weights()
    with pytest.raises(TransformerError, match="target must have the weights of source; . differ, such as '[ab]/"):
        copy_weights(one, two)
    for value, kept in zip(before, two.get_weights()):
        np.testing.assert_array_equal(value, kept)
