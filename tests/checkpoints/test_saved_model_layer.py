import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.checkpoints.saved_model_layer import SavedModelFeatures
from tftransformer.errors import TransformerError

IDS = tf.TensorSpec((None, None), tf.int32)
NAMES = ("input_word_ids", "input_mask", "input_type_ids")


class HubEncoder(tf.Module):
    """The form of TensorFlow Hub's BERT encoders: a dict in, a dict out, and a training flag."""

    def __init__(self):
        self.table = tf.Variable(np.random.default_rng(0).normal(size=(10, 4)).astype("float32"))

    @tf.function
    def __call__(self, inputs, training=False):
        mask = tf.cast(inputs["input_mask"], tf.float32)[..., None]
        hidden = tf.gather(self.table, inputs["input_word_ids"] + inputs["input_type_ids"]) * mask
        if training:
            hidden = hidden * 100
        return {"sequence_output": hidden, "pooled_output": tf.reduce_sum(hidden, 1), "ids": inputs["input_mask"]}


class SentenceEncoder(tf.Module):
    """The form of the universal sentence encoder: strings in, vectors out."""

    def __init__(self):
        keys = tf.constant(["good", "bad"])
        self.words = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, [1, 2]), 0)
        self.vectors = tf.Variable([[0.0, 0.0], [1.0, 0.5], [-1.0, 0.5]])

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
    def __call__(self, texts):
        tokens = tf.strings.split(texts)
        return tf.reduce_sum(tf.gather(self.vectors, self.words.lookup(tokens.to_tensor())), 1)


class Functions(tf.Module):
    """A module with nothing but what a test gives it."""


@pytest.fixture(scope="module")
def hub_encoder(tmp_path_factory):
    folder, model = str(tmp_path_factory.mktemp("hub")), HubEncoder()
    inputs = dict.fromkeys(NAMES, IDS)
    model.__call__.get_concrete_function(inputs, training=True)
    tf.saved_model.save(model, folder, signatures=model.__call__.get_concrete_function(inputs, training=False))
    return folder


@pytest.fixture(scope="module")
def sentence_encoder(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("sentences"))
    tf.saved_model.save(SentenceEncoder(), folder)
    return folder


def saved(folder, signatures=None, **functions):
    module = Functions()
    for name, function in functions.items():
        setattr(module, name, function)
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


def refusal(folder, **options):
    with pytest.raises(TransformerError) as caught:
        SavedModelFeatures(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rows():
    ids = np.array([[1, 2, 3], [4, 5, 0]], "int32")
    return {"input_word_ids": ids, "input_mask": (ids > 0).astype("int32"), "input_type_ids": ids * 0}


def expected(inputs):
    vectors = HubEncoder().table.numpy()[inputs["input_word_ids"]] * inputs["input_mask"][..., None]
    return vectors.sum(1)


def test_token_inputs_under_their_names_and_ours(hub_encoder):
    layer, inputs = SavedModelFeatures(hub_encoder), rows()
    np.testing.assert_allclose(layer(inputs), expected(inputs), rtol=1e-6)
    ours = dict(zip(("token_ids", "padding_mask", "segment_ids"), inputs.values(), strict=True))
    np.testing.assert_array_equal(layer(ours), layer(inputs))
    assert SavedModelFeatures(hub_encoder, output="sequence_output")(inputs).shape == (2, 3, 4)


def test_fit_trains_a_head_and_leaves_the_features(hub_encoder):
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in NAMES}
    layer = SavedModelFeatures(hub_encoder)
    model = keras.Model(inputs, keras.layers.Dense(1)(layer(inputs)))
    assert model.output_shape == (None, 1) and len(model.trainable_variables) == 2
    before, kernel = layer(rows()).numpy(), model.trainable_variables[0].numpy()
    model.compile("sgd", "mse")
    model.fit(rows(), np.ones((2, 1)), epochs=2, verbose=0)
    assert not np.array_equal(kernel, model.trainable_variables[0].numpy())
    np.testing.assert_array_equal(layer(rows()), before)


def test_strings_through_a_keras_model_and_an_export(sentence_encoder, tmp_path):
    texts = keras.Input((), dtype="string", name="texts")
    model = keras.Model(texts, keras.layers.Dense(1)(SavedModelFeatures(sentence_encoder)(texts)))
    given = tf.constant(["good good", "bad", ""])
    model.compile("sgd", "mse")
    model.fit(tf.data.Dataset.from_tensors((given, tf.ones((3, 1)))), verbose=0, epochs=1)
    model.export(str(tmp_path / "served"), verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(served.serve(given), model(given), rtol=1e-6)


def test_it_is_stored_by_its_path_and_loaded_only_where_trusted(sentence_encoder, tmp_path):
    texts = keras.Input((), dtype="string")
    layer = SavedModelFeatures(sentence_encoder, name="features")
    model = keras.Model(texts, layer(texts))
    model.save(tmp_path / "model.keras")
    with pytest.raises(TransformerError, match="would run the SavedModel .* safe_mode=False"):
        keras.saving.load_model(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=False)
    np.testing.assert_array_equal(again(tf.constant(["good"])), [[1.0, 0.5]])
    assert again.get_layer("features").get_config() == layer.get_config()


def test_a_signature_where_there_is_no_call(tmp_path):
    serve = tf.function(lambda x: {"default": tf.cast(x, tf.float32)}, input_signature=[IDS])
    folder = saved(tmp_path / "a", {"default": serve}, unused=serve)
    np.testing.assert_array_equal(SavedModelFeatures(folder)(np.ones((2, 3), "int32")), np.ones((2, 3)))


def test_keras_own_export(tmp_path):
    ids = keras.Input((None,), dtype="int32", name="ids")
    vectors = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(5, 3)(ids))
    model = keras.Model(ids, vectors)
    model.export(str(tmp_path / "a"), verbose=False)
    layer = SavedModelFeatures(tmp_path / "a")
    np.testing.assert_allclose(layer(np.array([[1, 2]])), model(np.array([[1, 2]])), rtol=1e-6)


def test_what_is_no_saved_model(tmp_path):
    assert "has a saved_model.pb" in refusal(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff damaged")
    assert "cannot be loaded" in refusal(tmp_path)


def test_saved_models_that_cannot_be_called(tmp_path):
    assert "it has none" in refusal(saved(tmp_path / "a"))
    fixed = tf.function(lambda x: x, input_signature=[tf.TensorSpec((8, 4), tf.float32)])
    assert "a fixed batch size" in refusal(saved(tmp_path / "b", {"serving_default": fixed}))
    integers = tf.function(lambda x: {"ids": x}, input_signature=[IDS])
    assert "it has none" in refusal(saved(tmp_path / "c", {"serving_default": integers}))
    two = tf.function(lambda x: {"a": tf.cast(x, tf.float32), "b": tf.cast(x, tf.float16)}, input_signature=[IDS])
    folder = saved(tmp_path / "d", {"serving_default": two})
    message = refusal(folder)
    assert "must name one of the floating-point outputs" in message and "(a, b)" in message.replace("b, a", "a, b")
    assert SavedModelFeatures(folder, output="a")(np.ones((1, 2), "int32")).shape == (1, 2)
    nothing = tf.function(lambda: tf.ones(3), input_signature=[])
    assert "it has none" in refusal(saved(tmp_path / "f", {"serving_default": nothing}, __call__=nothing))
    scalar = tf.function(lambda x: {"loss": tf.reduce_sum(tf.cast(x, tf.float32))}, input_signature=[IDS])
    assert "must be a batch of vectors" in refusal(saved(tmp_path / "e", {"serving_default": scalar}))


def test_a_training_trace_alone_is_not_used(tmp_path):
    model = HubEncoder()
    model.__call__.get_concrete_function(dict.fromkeys(NAMES, IDS), training=True)
    tf.saved_model.save(model, str(tmp_path / "a"))
    assert "it has none" in refusal(tmp_path / "a")


def test_arguments(hub_encoder, monkeypatch):
    assert "output must be a floating-point output" in refusal(hub_encoder, output="ids")
    assert "did you mean 'pooled_output'" in refusal(hub_encoder, output="pooled")
    assert "are frozen; got True" in refusal(hub_encoder, trainable=True)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert "on the TensorFlow backend only; the backend is jax" in refusal(hub_encoder)


def test_inputs(hub_encoder):
    layer = SavedModelFeatures(hub_encoder)
    ids = keras.Input((None,), dtype="int32")
    for inputs, message in [
        (ids, "must be a dict of input_mask, input_type_ids, input_word_ids; got one tensor"),
        ({"input_word_ids": ids}, "must be input_mask, input_type_ids, input_word_ids; got input_word_ids"),
        ({**dict.fromkeys(NAMES, ids), "extra": ids}, "got input_word_ids, input_mask, input_type_ids, extra"),
        (dict.fromkeys(NAMES, keras.Input((), dtype="string")), r"must be int32 of shape \(None, None\) .* got string"),
        (dict.fromkeys(NAMES, keras.Input((2, 2), dtype="int32")), r"got int32 of shape \(None, 2, 2\)"),
    ]:
        with pytest.raises(TransformerError, match=message):
            layer(inputs)
