"""Documents in chunks: the laws of attention over chunks, and everything else that a classifier does."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.data import Split
from tftransformer.errors import TransformerError
from tftransformer.finetuning.freezing import freeze
from tftransformer.finetuning.methods import GradualUnfreezing, LoRA
from tftransformer.finetuning.strategy import parse_strategy
from tftransformer.patterns import addresses
from tftransformer.tasks.document_classifier import DocumentClassifier
from tftransformer.tasks.network import EncoderNetwork
from tftransformer.tasks.text_classifier import TextClassifier

LABELS = ("negative", "positive")


def build(preset, kind=DocumentClassifier, labels=LABELS, **options):
    keras.utils.set_random_seed(0)
    return kind.from_preset(preset, labels=labels, **{"sequence_length": 8, **options})


def shake(classifier, names="head/|chunk_"):
    """Weights of the head and the attention that say something."""
    draw = np.random.default_rng(0)
    for name, variable in addresses(classifier).items():
        if name.startswith(tuple(names.split("|"))):
            centre = 1.0 if name.endswith("gamma") else 0.0
            variable.assign(draw.normal(centre, 0.5, variable.shape))
    return classifier


def batch_of(classifier, texts):
    return classifier.preprocessor(texts)


def probabilities(classifier, texts):
    """What `predict` returns, without its tracing."""
    return np.asarray(classifier.objective.activate(classifier(batch_of(classifier, texts))))


@pytest.fixture(scope="module")
def documents(reviews):
    """Sixty documents of one to some twenty words, of which one says the label, anywhere."""
    texts, labels = reviews
    draw = np.random.default_rng(2)
    fill = "the plot was very quick and the music was not slow but this story is dull".split()
    longer = []
    for i, text in enumerate(texts):
        around = list(draw.choice(fill, i % 4 * 5))
        at = int(draw.integers(len(around) + 1))
        longer.append(" ".join([*around[:at], text, *around[at:]]))
    return longer, labels


@pytest.fixture(scope="module")
def classifier(tiny_preset):
    return shake(build(tiny_preset, overlap=1))


# Laws


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_text_of_one_chunk_is_classified_as_by_the_plain_classifier(tiny_preset, tmp_path, reviews, pooling):
    plain = build(tiny_preset, TextClassifier, sequence_length=16, pooling=pooling)
    shake(plain, "head/|pooler/").save_to_preset(tmp_path / "plain")
    document = DocumentClassifier.from_preset(tmp_path / "plain", pooling=pooling)
    assert document.sequence_length == 16 and set(document.newly_initialized) == {
        "chunk_attention/projection/kernel", "chunk_attention/projection/bias", "chunk_attention/query",
    }  # fmt: skip
    expected = probabilities(plain, reviews[0])
    np.testing.assert_allclose(probabilities(document, reviews[0]), expected, atol=1e-6)
    assert np.ptp(expected[:, 0]) > 0.05


@pytest.mark.parametrize("chunk_blocks", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_padding_chunks_change_nothing_and_need_no_computing(tiny_preset, documents, chunk_blocks, monkeypatch):
    classifier = shake(build(tiny_preset, chunk_blocks=chunk_blocks))
    texts = documents[0][:5]
    alone = np.concatenate([probabilities(classifier, [text]) for text in texts])
    np.testing.assert_allclose(probabilities(classifier, texts), alone, atol=1e-6)
    batch = batch_of(classifier, texts)
    rows = []

    pooled = EncoderNetwork.__call__

    def counted(network, inputs, training):
        rows.append(len(inputs["token_ids"]))
        return pooled(network, inputs, training)

    monkeypatch.setattr(EncoderNetwork, "__call__", counted)
    wider = {name: tf.pad(value, [[0, 0], [0, 8 - value.shape[1]], [0, 0]]) for name, value in batch.items()}
    np.testing.assert_allclose(classifier.objective.activate(classifier(wider)), alone, atol=1e-6)
    # As XLA has it: every chunk is computed, the empty ones too.
    monkeypatch.setattr(DocumentClassifier, "jit_compile", True)
    np.testing.assert_allclose(classifier.objective.activate(classifier(wider)), alone, atol=1e-6)
    assert rows == [np.any(batch["padding_mask"], axis=-1).sum(), 5 * 8]


def test_the_order_of_chunks_matters_only_with_positions(tiny_preset, documents):
    text = max(documents[0], key=len)
    for chunk_blocks in (0, 1):
        classifier = shake(build(tiny_preset, chunk_blocks=chunk_blocks))
        batch = batch_of(classifier, [text])
        assert batch["token_ids"].shape[1] >= 3
        turned = {name: value[:, ::-1] for name, value in batch.items()}
        difference = float(np.abs(classifier(batch) - classifier(turned)).max())
        assert difference < 1e-6 if not chunk_blocks else difference > 1e-3


def test_weights_of_chunks_are_those_that_the_prediction_used(classifier, documents):
    texts = [max(documents[0], key=len), "", "good"]
    weights = classifier.chunk_weights(texts)
    for text, chunks in zip(texts, weights, strict=True):
        assert sum(chunk.weight for chunk in chunks) == pytest.approx(1.0, abs=1e-5)
        if not chunks[0].text:
            assert text == "" and len(chunks) == 1
            continue
        assert text.startswith(chunks[0].text) and text.endswith(chunks[-1].text)
        rows = batch_of(classifier, [text])
        assert len(chunks) == rows["token_ids"].shape[1]
        # A chunk's text holds the chunk's tokens, and the chunks' vectors weigh as said.
        vectors = []
        for chunk, ids, mask in zip(chunks, rows["token_ids"][0], rows["padding_mask"][0]):
            own = classifier.preprocessor.pack(classifier.tokenizer.tokenize([chunk.text]))
            np.testing.assert_array_equal(own["token_ids"][0], ids[mask == 1])
            x = classifier.encoder({name: own[name] for name in classifier.encoder.input})
            vectors.append(classifier.pooler(x, padding_mask=own["padding_mask"])[0])
        mean = sum(chunk.weight * vector for chunk, vector in zip(chunks, vectors))
        expected = classifier.objective.activate(classifier.head(mean[None]))
        np.testing.assert_allclose(probabilities(classifier, [text]), expected, atol=1e-5)
    assert max(len(chunks) for chunks in weights) >= 3
    assert np.ptp([chunk.weight for chunk in max(weights, key=len)]) > 1e-3
    assert classifier.chunk_weights([]) == []


@pytest.mark.slow
def test_it_finds_the_word_that_truncation_cuts_off(two_block_preset):
    draw = np.random.default_rng(3)
    fill = "the plot was very quick and the music slow".split()
    labels = [LABELS[i % 2] for i in range(90)]
    texts = [" ".join([*draw.choice(fill, 8), ("bad", "good")[i % 2], *draw.choice(fill, 3)]) for i in range(90)]
    accuracies = {}
    for kind in (DocumentClassifier, TextClassifier):
        classifier = build(two_block_preset, kind, dropout=0.0)
        classifier.compile(learning_rate=3e-3, fresh_multiplier=3.0)
        classifier.fit(texts[:60], labels[:60], epochs=12, batch_size=12, verbose=0)
        held_out = classifier.evaluate(texts[60:], labels[60:], verbose=0, return_dict=True)
        accuracies[kind] = held_out["accuracy"]
    assert accuracies[DocumentClassifier] > 0.9 and accuracies[TextClassifier] < 0.8


# What every classifier does


@pytest.mark.slow
def test_fit_evaluate_and_report_read_a_split(tiny_preset, documents):
    data = Split(*documents)
    classifier = build(tiny_preset)
    history = classifier.fit(data, batch_size=30, verbose=0, epochs=1).history
    assert np.isfinite(history["loss"]).all()
    assert classifier.evaluate(data, verbose=0, return_dict=True)["accuracy"] == pytest.approx(
        classifier.report(data)["accuracy"]
    )


@pytest.mark.slow
def test_fit_takes_every_form_and_a_dataset_trains_like_lists(tiny_preset, documents):
    texts, labels = documents
    rows = tf.data.Dataset.from_tensor_slices((texts, labels))
    results = []
    for form in (dict(x=texts, y=labels), dict(x=rows), dict(x=Split(texts, labels))):
        classifier = build(tiny_preset, dropout=0.0, head_dropout=0.0)
        classifier.compile(keras.optimizers.SGD(0.1))
        history = classifier.fit(
            **form, epochs=1, batch_size=12, shuffle=False, verbose=0, validation_data=rows.take(9)
        ).history
        assert np.isfinite(history["loss"]).all() and "val_macro_f1" in history
        results.append({name: np.asarray(v) for name, v in addresses(classifier).items()})
    for other in results[1:]:
        for name, value in results[0].items():
            np.testing.assert_allclose(other[name], value, atol=1e-5, err_msg=name)


def test_documents_of_like_length_share_batches(tiny_preset, documents):
    classifier = build(tiny_preset)
    batches, inverse = classifier.ordered_batches(classifier.preprocess(documents[0]), 10)
    chunks = [batch["token_ids"].shape[1] for batch in batches]
    assert chunks == sorted(chunks) and chunks[0] < chunks[-1] and sorted(inverse) == list(range(60))


@pytest.mark.slow
def test_multi_label_documents(tiny_preset, documents):
    texts, labels = documents
    targets = [(label, "long") if len(text) > 60 else (label,) for text, label in zip(texts, labels)]
    data = Split(texts, targets, multi_label=True)
    classifier = build(tiny_preset, labels=data.labels, multi_label=True)
    classifier.compile(learning_rate=3e-3)
    classifier.fit(data, batch_size=16, verbose=0, epochs=1)
    assert 0 < classifier.tune_threshold(data) < 1
    assert "micro" in str(classifier.report(data))


@pytest.mark.parametrize("chunk_blocks", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_saved_and_loaded_it_predicts_the_same(tiny_preset, documents, tmp_path, chunk_blocks):
    texts = documents[0][:9]
    saved = shake(build(tiny_preset, chunk_blocks=chunk_blocks, max_chunks=4, overlap=2, extra_blocks=1))
    expected = probabilities(saved, texts)
    saved.save_to_preset(tmp_path / "model")
    loaded = DocumentClassifier.from_preset(tmp_path / "model")
    assert (
        loaded.preprocessor.chunker == saved.preprocessor.chunker
        and loaded.newly_initialized == ()
        and len(loaded.chunk_blocks) == chunk_blocks
    )
    np.testing.assert_array_equal(probabilities(loaded, texts), expected)
    others = DocumentClassifier.from_preset(tmp_path / "model", labels=["x", "y"])
    assert set(others.newly_initialized) == {"head/logits/kernel", "head/logits/bias"}
    with pytest.raises(TransformerError, match="chunk_attention"):
        TextClassifier.from_preset(tmp_path / "model")
    with pytest.raises(TransformerError, match="chunk_attention"):
        saved.save_to_preset(tmp_path / "hf", format="huggingface")


@pytest.mark.slow
def test_keras_files_hold_it_with_what_is_frozen_and_lora(tiny_preset, documents, tmp_path):
    texts, labels = documents
    classifier = build(tiny_preset, chunk_blocks=1)
    freeze(classifier, layers=1)
    LoRA(rank=2).apply(classifier)
    classifier.compile(learning_rate=1e-2)
    classifier.fit(texts, labels, batch_size=16, verbose=0, epochs=1)
    classifier.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(texts, verbose=0), classifier.predict(texts, verbose=0), atol=1e-6)
    assert len(loaded.trainable_variables) == len(classifier.trainable_variables)


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        (dict(), None),
        pytest.param(dict(chunk_blocks=1, pooling="cls"), None, marks=pytest.mark.slow),
        pytest.param(dict(), "bfloat16", marks=pytest.mark.slow),
    ],
)
def test_the_exported_graph_takes_whole_documents(tiny_preset, documents, tmp_path, options, dtype):
    classifier = shake(build(tiny_preset, **options))
    texts = [*documents[0][:9], ""]
    expected = probabilities(classifier, texts)
    classifier.export(tmp_path / "1", dtype=dtype)
    served = tf.saved_model.load(tmp_path / "1").signatures["serving_default"]
    found = served(text=tf.constant(texts))
    np.testing.assert_allclose(found["probabilities"], expected, atol=0.05 if dtype else 1e-5)
    if dtype is None:
        assert [label.decode() for label in found["label"].numpy()] == classifier.predicted_labels(expected)


def test_head_only_trains_the_attention_over_chunks_too(tiny_preset):
    classifier = build(tiny_preset, chunk_blocks=1)
    parse_strategy("head").apply(classifier)
    names = {name.split("/")[0] for name, v in addresses(classifier).items() if v.trainable}
    assert names == {"head", "chunk_position", "chunk_block_0", "chunk_attention"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("full", dict(chunk_blocks=1)),
        ("freeze:1", dict()),
        ("head", dict(chunk_blocks=1)),
        ("bitfit", dict()),
        ("lora:2", dict(multi_label=True, chunk_blocks=1)),
        ("adapter:4", dict(chunk_blocks=1)),
        ("prefix:2", dict(overlap=2)),
    ],
)
def test_every_strategy_trains_saves_and_serves_documents(tiny_preset, documents, tmp_path, strategy, options):
    texts, labels = documents[0][:24], documents[1][:24]
    classifier = build(tiny_preset, **options)
    classifier.apply(strategy)
    before = {name: np.asarray(v) for name, v in addresses(classifier).items()}
    classifier.compile(learning_rate=1e-2)
    targets = [(label,) for label in labels] if classifier.multi_label else labels
    classifier.fit(texts, targets, batch_size=8, verbose=0, epochs=1)
    for name, variable in addresses(classifier).items():
        same = np.array_equal(variable, before[name])
        assert same or variable.trainable, name
    assert not np.array_equal(addresses(classifier)["chunk_attention/query"], before["chunk_attention/query"])
    expected = classifier.predict(texts, verbose=0)
    classifier.save_to_preset(tmp_path / "model")
    loaded = DocumentClassifier.from_preset(tmp_path / "model")
    np.testing.assert_allclose(probabilities(loaded, texts), expected, atol=1e-6)
    loaded.export(tmp_path / "1")
    served = tf.saved_model.load(tmp_path / "1").signatures["serving_default"](text=tf.constant(texts))
    np.testing.assert_allclose(served["probabilities"], expected, atol=1e-5)


@pytest.mark.slow
def test_stages_and_augmentation_take_documents(tiny_preset, documents):
    classifier = build(tiny_preset, chunk_blocks=1)
    stages = GradualUnfreezing().stages(classifier, 3)
    assert {"chunk_attention/query", "chunk_position/embeddings"} < set(stages[0].names)
    classifier.apply(GradualUnfreezing(blocks_per_stage=2))
    classifier.fit(*documents, epochs=2, verbose=0)
    classifier.apply("full")
    classifier.fit(*documents, verbose=0, augmentation="swap:0.2,delete:0.2", epochs=1)
    assert np.isfinite(classifier.predict(documents[0], verbose=0)).all()


@pytest.mark.slow
def test_xla_sees_few_shapes_and_computes_the_same(tiny_preset, documents):
    results = []
    for jit_compile in (False, True):
        classifier = build(tiny_preset, dropout=0.0, head_dropout=0.0, max_chunks=3)
        classifier.compile(keras.optimizers.SGD(0.1), jit_compile=jit_compile)
        classifier.fit(*documents, batch_size=20, shuffle=False, verbose=0, epochs=1)
        results.append(classifier.predict(documents[0], verbose=0))
    np.testing.assert_allclose(*results, atol=1e-5)


@pytest.mark.slow
def test_replicas_see_whole_documents(tiny_preset, documents):
    texts, labels = documents
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        classifier = build(tiny_preset)
        classifier.compile()
    classifier.fit(texts, labels, batch_size=16, verbose=0, epochs=1)
    assert classifier.predict(texts, verbose=0).shape == (60, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(max_chunks=0), "max_chunks must be a positive integer; got 0"),
        (dict(overlap=6), "overlap must be at most 5"),
        (dict(chunk_blocks=-1), "chunk_blocks must be 0 or a positive integer; got -1"),
        (dict(text_pairs=True), "takes single texts"),
        (dict(sequence_length=33), "between 3 and 32"),
    ],
)
def test_wrong_arguments_are_named(tiny_preset, options, message):
    with pytest.raises(TransformerError, match=message):
        build(tiny_preset, **options)


def test_pairs_packing_and_a_stored_prefix_are_refused(classifier, tmp_path):
    with pytest.raises(TransformerError, match="takes single texts; got pairs"):
        classifier.predict([("a", "b")], verbose=0)
    with pytest.raises(TransformerError, match="packing=True cannot go with a task that cuts its texts into chunks"):
        classifier.fit(["a", "b"], [0, 1], packing=True, epochs=1)
    with pytest.raises(TransformerError, match="an activation cache cannot go with a task that cuts"):
        classifier.fit(["a", "b"], [0, 1], activation_cache=str(tmp_path / "folder"), epochs=1)


@pytest.mark.by_default("mean")
@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_a_document_has_one_vector_and_one_answer(tiny_preset, documents, pooling, capsys):
    classifier = shake(build(tiny_preset, pooling=pooling, max_chunks=3, chunk_blocks=1))
    texts = documents[0][:7]
    before = classifier.predict(texts, verbose=0)
    vectors = classifier.encode(texts, batch_size=3)
    assert vectors.shape == (7, 16)
    np.testing.assert_allclose(keras.ops.softmax(classifier.head(vectors)), before, atol=1e-5)
    np.testing.assert_array_equal(classifier.predict(texts, verbose=0), before)
    assert [answer.label for answer in classifier.classify(texts)] == classifier.predicted_labels(before)
    classifier.summary()
    assert "chunk_attention" in capsys.readouterr().out
