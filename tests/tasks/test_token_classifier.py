"""A tagger learns the tags of words by every method, answers with places in the text, and keeps what it has learned."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer import load
from tftransformer.data import TaggedSplit
from tftransformer.errors import TransformerError
from tftransformer.evaluation import tagging_baselines
from tftransformer.evaluation.tagging import spans_of
from tftransformer.objectives.tagging import viterbi_in_graph
from tftransformer.patterns import addresses
from tftransformer.tasks import TextClassifier, TokenClassifier

KINDS = {"movie": "THING", "film": "THING", "good": "PRAISE", "bad": "PRAISE"}


@pytest.fixture(scope="module")
def tagged(reviews):
    """Words whose type is told by the word, and by the one before it whether an entity begins there."""
    rows, tags = [], []
    for text in reviews[0]:
        words = text.split()
        names = [KINDS.get(word) for word in words]
        rows.append(words)
        tags.append(["O" if name is None else f"B-{name}" for name in names])
    return TaggedSplit.from_words(rows, tags)


def build(preset, labels=("O", "B-THING", "B-PRAISE"), **options):
    keras.utils.set_random_seed(0)
    return TokenClassifier.from_preset(preset, labels=labels, **{"dropout": 0.0, "head_dropout": 0.0, **options})


@pytest.fixture(scope="module")
def trained(tiny_preset, tagged):
    tagger = build(tiny_preset)
    tagger.compile(learning_rate=3e-2)
    tagger.fit(tagged, validation_data=tagged, epochs=4, batch_size=16, verbose=0)
    return tagger


def same(found, expected, **tolerance):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, **{"rtol": 1e-6, "atol": 1e-7, **tolerance})


def test_it_learns_and_its_report_is_that_of_its_answers(trained, tagged):
    assert trained.labels == ("O", "B-PRAISE", "I-PRAISE", "B-THING", "I-THING")
    report = trained.report(tagged, tagging_baselines(tagged, tagged, iterations=5))
    assert report["micro_f1"] > 0.9 and "most frequent tag" in str(report)
    logs = trained.evaluate(tagged, verbose=0, return_dict=True)
    trained.objective.decode = "argmax"
    try:
        argmax = trained.report(tagged)
    finally:
        trained.objective.decode = "viterbi"
    assert logs["entity_f1"] == pytest.approx(argmax["micro_f1"], abs=1e-5)
    assert logs["accuracy"] == pytest.approx(argmax["accuracy"], abs=1e-5)
    probabilities = trained.predict(tagged, verbose=0)
    assert [len(row) for row in probabilities] == [len(row) for row in tagged.spans]
    same(trained.predict(tagged, batch_size=7, verbose=0), probabilities, atol=1e-5)
    assert trained.predict([], verbose=0) == [] and trained.predict([""], verbose=0)[0].shape == (0, 5)


def test_spans_are_parts_of_the_text_as_it_was_given(trained):
    texts = ["a  gööd film 😀!\r\nA good film", "שלום good movie", "", "good film" * 3, "e\u0301tude film"]
    found = trained.find_spans(texts)
    assert [span.text for span in found[1]] == ["good", "movie"]
    for text, spans in zip(texts, found, strict=True):
        for span in spans:
            assert text[span.start : span.end] == span.text and 0 < span.probability <= 1
    assert trained.find_spans("a good film") == trained.find_spans(["a good film"])


def test_a_long_text_is_read_in_windows_and_nothing_is_dropped(trained, tiny_preset, tagged, tmp_path):
    words = [word for i in range(12) for word in tagged.words(i)]
    tagger = TokenClassifier.from_preset(_saved(trained, tmp_path), sequence_length=12, overlap=4)
    rows = tagger.predict([words, ["good"]], verbose=0)
    assert [len(row) for row in rows] == [len(words), 1]
    # Each word is answered as the network answers it in its window.
    examples = tagger.preprocess([words])
    expected = []
    for row in range(len(examples)):
        logits = tagger(examples.features(np.array([row]), int(examples.lengths[row])), training=False)
        places = examples.inputs["words"].places[np.array([row])].values
        expected.append(keras.ops.convert_to_numpy(keras.ops.softmax(logits))[0][places])
    np.testing.assert_allclose(rows[0], np.concatenate(expected), atol=1e-5)
    assert len(tagger.find_spans([words])[0]) > 10


def _saved(tagger, folder):
    tagger.save_to_preset(folder / "model")
    return folder / "model"


def test_viterbi_lets_no_invalid_sequence_out(tiny_preset, tagged):
    tagger = build(tiny_preset, scheme="BIOES")
    assert "E-THING" in tagger.labels
    for row in tagger.predicted_tags(tagged.take(range(10))):
        assert spans_of(row, "BIOES") == spans_of(row, "BIOES") and _valid(row)


def _valid(row):
    before = ["O", *row]
    opened = [tag[0] in "BI" for tag in before]
    return all((tag[0] in "IE") == opened[i] for i, tag in enumerate(row)) and not opened[-1]


def test_folders_and_files_give_the_same_tags(trained, tagged, tmp_path):
    expected = trained.predict(tagged, verbose=0)
    again = load(_saved(trained, tmp_path))
    assert type(again) is TokenClassifier and again.objective == trained.objective
    same(again.predict(tagged, verbose=0), expected, rtol=0, atol=0)
    trained.save(tmp_path / "task.keras")
    again = keras.saving.load_model(tmp_path / "task.keras")
    same(again.predict(tagged, verbose=0), expected, rtol=0, atol=0)
    assert again.evaluate(tagged, verbose=0) == pytest.approx(trained.evaluate(tagged, verbose=0), rel=1e-5)
    # Other tags make a new head, and a classifier takes the encoder.
    for other in (
        TokenClassifier.from_preset(tmp_path / "model", labels=["NOUN", "VERB"]),
        TextClassifier.from_preset(tmp_path / "model", labels=list("abcde")),
    ):
        assert "head/logits/kernel" in other.newly_initialized
    assert TokenClassifier.from_preset(tmp_path / "model", labels=["O", "B-THING"]).newly_initialized == ()


def test_a_folder_of_transformers_gives_the_same_tags(trained, tagged, tmp_path):
    trained.save_to_preset(tmp_path / "theirs", format="huggingface")
    stated = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert stated["architectures"] == ["BertForTokenClassification"] and stated["id2label"]["1"] == "B-PRAISE"
    again = load(tmp_path / "theirs")
    assert type(again) is TokenClassifier and again.objective == trained.objective
    same(again.predict(tagged, verbose=0), trained.predict(tagged, verbose=0), atol=1e-6)


@pytest.mark.parametrize("decode", ["viterbi", "argmax"])
def test_a_server_answers_the_same_tags_and_places(trained, tmp_path, decode):
    tagger = TokenClassifier.from_preset(_saved(trained, tmp_path), sequence_length=12, decode=decode)
    texts = ["a  gööd film 😀!\r\nA good film", "", "bad movie " * 20]
    tagger.export(tmp_path / "served")
    served = tf.saved_model.load(tmp_path / "served").signatures["serving_default"](text=tf.constant(texts))
    split = TaggedSplit.from_texts(texts)
    for row, probabilities in enumerate(tagger.predict(texts, verbose=0)):
        words = len(split.spans[row])
        np.testing.assert_allclose(served["probabilities"][row, :words], probabilities, atol=1e-5)
        places = list(zip(served["start"][row].numpy(), served["end"][row].numpy(), strict=True))
        assert places[:words] == split.spans[row] and set(places[words:]) <= {(-1, -1)}
        tags = [tag.decode() for tag in served["tag"][row].numpy()]
        assert tags[:words] == tagger.objective.decoded([probabilities])[0] and not any(tags[words:])


def test_the_best_sequences_of_a_graph_are_those_of_the_host(tiny_preset):
    objective = build(tiny_preset, scheme="BIOES").objective
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.full(len(objective.tags), 0.3), (20, 9)).astype("float32")
    lengths = random.integers(0, 10, 20)
    real = tf.constant(np.arange(9) < lengths[:, None])
    found = viterbi_in_graph(tf.math.log(probabilities), real, *objective._allowed).numpy()
    for row, length in enumerate(lengths):
        np.testing.assert_array_equal(found[row, :length], objective.ids_of(probabilities[row, :length]))


STEPS = {
    "packing": {"packing": True},
    "stored states": {"activation_cache": "auto"},
    "as they are": {"activation_cache": "off"},
}


@pytest.mark.by_default("freeze:1-stored states")
@pytest.mark.parametrize("step", ["packing", "stored states"])
@pytest.mark.parametrize("strategy", ["full", "freeze:1", "freeze:2"])
def test_every_way_to_the_network_is_the_same_training(two_block_preset, tagged, strategy, step):
    if (strategy, step) in (("full", "stored states"), ("freeze:1", "packing")):
        pytest.skip("nothing is stored, or once is enough")
    losses = []
    for name in ("as they are", step):
        tagger = build(two_block_preset)
        tagger.apply(strategy)
        tagger.compile(keras.optimizers.SGD(0.1))
        data = tagged.take(range(32))
        losses.append(
            tagger.fit(data, validation_data=data, epochs=3, batch_size=8, verbose=0, **STEPS[name]).history["val_loss"]
        )
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-4)


@pytest.mark.by_default("lora:2")
@pytest.mark.parametrize(
    "strategy",
    ["lora:2", "adapter:4", "layerwise:0.5", "unfreeze", "bitfit", "head", "prefix:2"],
)
def test_every_method_trains_it(tiny_preset, tagged, strategy):
    tagger = build(tiny_preset)
    tagger.apply(strategy)
    tagger.compile(learning_rate=1e-2)
    losses = tagger.fit(tagged, epochs=3, verbose=0, batch_size=16).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("method", ["probe", "head_start", "contrastive"])
def test_methods_that_solve_for_classes_are_refused(tiny_preset, method):
    with pytest.raises(TransformerError, match="is for a classifier with one linear head; got a TokenClassifier"):
        build(tiny_preset).apply(method)


def test_keras_losses_and_metrics_mean_words_alone(trained, tiny_preset, tagged, tmp_path):
    # Rows of unlike lengths, so that there is padding.
    data = TaggedSplit.from_words([["good"], ["good", "movie", "a", "film", "bad", "a"]], [["O"], ["O"] * 6])
    usual = trained.evaluate(data, verbose=0, return_dict=True)
    tagger = TokenClassifier.from_preset(_saved(trained, tmp_path))
    tagger.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    found = tagger.evaluate(data, verbose=0, return_dict=True)
    assert found == pytest.approx({name: usual[name] for name in ("loss", "accuracy")}, rel=1e-5)
    own = keras.losses.SparseCategoricalCrossentropy(reduction="mean_with_sample_weight")
    tagger.compile(loss=own, weighted_metrics="accuracy", run_eagerly=True)
    assert tagger.evaluate(data, verbose=0) == pytest.approx([usual["loss"], usual["accuracy"]], rel=1e-5)
    for loss in ("mse", "categorical_crossentropy", keras.losses.CategoricalHinge()):
        with pytest.raises(TransformerError, match="loss must be of the ids of tags"):
            tagger.compile(loss=loss)
    with pytest.raises(TransformerError, match="loss must be for one label a text"):
        tagger.compile(loss="binary_crossentropy")


@pytest.mark.slow
def test_weights_and_default_recipe(tiny_preset, tagged):
    tagger = build(tiny_preset)
    tagger.fit(tagged, verbose=0, sample_weight=np.ones(len(tagged)))
    assert np.isfinite(tagger.evaluate(tagged, verbose=0)).all()
    halves = [[0.0] * 30 + [1.0] * 30, None]
    losses = []
    for weights, data in zip(halves, (tagged, tagged.take(range(30, 60))), strict=True):
        tagger = build(tiny_preset)
        tagger.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
        losses.append(tagger.fit(data, sample_weight=weights, epochs=1, batch_size=8, verbose=0).history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_plain_tags_are_told_word_by_word(tiny_preset):
    tagger = build(tiny_preset, labels=["NOUN", "VERB", "O"])
    tagger.head.logits.bias.assign([0.0, 0.0, 9.0])  # NOUN, O, VERB
    (spans,) = tagger.find_spans("good movie!")
    assert [(span.text, span.type) for span in spans] == [("good", "VERB"), ("movie", "VERB"), ("!", "VERB")]
    tagger.head.logits.bias.assign([0.0, 9.0, 0.0])
    assert tagger.find_spans("good movie!") == [[]]
    assert len(tagger.predict([["good"]] * 5, batch_size=2, steps=2, verbose=0)) == 4


def test_wrong_calls_are_said_in_one_line(tiny_preset, trained, tagged):
    for call, message in (
        (lambda: build(tiny_preset, labels=["O"]), "labels must be at least two different tags"),
        (lambda: build(tiny_preset, labels=["O", "B-X", "NOUN"]), "tags must all have a prefix"),
        (lambda: build(tiny_preset, scheme="IOB3"), "scheme must be one of IOB1, IOB2"),
        (lambda: build(tiny_preset, decode="beam"), "decode must be one of viterbi, argmax"),
        (lambda: build(tiny_preset, labels=["NOUN", "VERB"], scheme="IOB2"), "scheme must be 'plain'"),
        (lambda: TokenClassifier.from_preset(tiny_preset), "labels must be given: the preset"),
        (lambda: build(tiny_preset, pooling="mean"), "unexpected|has no pooling"),
        (lambda: trained.encode(["good"]), "encode gives a vector for each text, which a TokenClassifier has not"),
        (
            lambda: trained.fit(tagged, augmentation="swap:0.1", epochs=1, verbose=0),
            "augmentation is for texts with a target of their own; those of a TokenClassifier are of tokens",
        ),
        (lambda: trained.fit(tagged, class_weight="balanced", epochs=1, verbose=0), "class_weight is for classes"),
        (lambda: trained.fit([["good"]], epochs=1, verbose=0), "fit needs labels"),
        (lambda: trained.report(TaggedSplit.from_texts(["good"])), "data must have tags"),
    ):
        with pytest.raises(TransformerError, match=message):
            call()
    assert any(name.startswith("head/") for name in addresses(trained))
