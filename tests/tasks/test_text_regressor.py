"""A regressor learns numbers in any unit, by every method, and keeps them through folders, files and servers."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer import load
from tftransformer.data import Split
from tftransformer.data import load as load_data
from tftransformer.errors import TransformerError
from tftransformer.evaluation import mean_baseline, tfidf_ridge_baseline
from tftransformer.patterns import addresses
from tftransformer.tasks import TextClassifier, TextRegressor

NAMES = ["grade", "length"]


@pytest.fixture(scope="module")
def rated(reviews):
    """Texts whose grade, 10 or 90, is told by one word."""
    texts, labels = reviews
    return Split(texts, [90.0 if label == "positive" else 10.0 for label in labels], numeric=True)


def build(preset, **options):
    keras.utils.set_random_seed(0)
    options = {"dropout": 0.0, "head_dropout": 0.0, **options}
    return TextRegressor.from_preset(preset, **options)


@pytest.fixture(scope="module")
def trained(tiny_preset, rated):
    regressor = build(tiny_preset, names=["grade"], levels=[10, 50, 90])
    regressor.compile(learning_rate=3e-2)
    regressor.fit(rated, validation_data=rated, epochs=8, batch_size=16, verbose=0)
    return regressor


def test_it_learns_in_the_units_of_the_targets(trained, rated):
    numbers = trained.predict(rated, verbose=0)
    assert numbers.shape == (60,) and np.abs(numbers - rated.targets).mean() < 15
    assert set(trained.nearest_levels(rated)) <= {10.0, 50.0, 90.0}
    baselines = [
        mean_baseline(rated.targets, rated.targets, trained.names, levels=trained.objective.levels),
        tfidf_ridge_baseline(
            rated.texts, rated.targets, rated.texts, rated.targets, trained.names, levels=(10, 50, 90)
        ),
    ]
    report = trained.report(rated, baselines)
    assert report["pearson"] > 0.9 and report["mae"] == pytest.approx(np.abs(numbers - rated.targets).mean(), rel=1e-5)
    assert "TF-IDF + ridge" in str(report) and "nearest level right" in str(report)
    assert trained.predict([], verbose=0).shape == (0,)
    history = trained.evaluate(rated, return_dict=True, verbose=0)
    assert history["pearson"] == pytest.approx(report["pearson"], abs=1e-4)
    assert history["mae"] == pytest.approx(report["mae"], rel=1e-4)


def test_another_unit_makes_no_difference_to_what_is_learned(tiny_preset, rated):
    weights = []
    for factor, shift in ((1.0, 0.0), (1e-3, 1900.0)):
        regressor = build(tiny_preset)
        regressor.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
        targets = [factor * target + shift for target in rated.targets]
        regressor.fit(rated.texts[:16], targets[:16], epochs=2, batch_size=8, verbose=0)
        weights.append({name: weight.numpy() for name, weight in addresses(regressor).items()})
    for name, value in weights[0].items():
        np.testing.assert_allclose(weights[1][name], value, atol=2e-3, err_msg=name)


def test_folders_files_and_servers_give_the_same_numbers(trained, rated, tmp_path):
    expected = trained.predict(rated, verbose=0)
    trained.save_to_preset(tmp_path / "own")
    again = load(tmp_path / "own")
    assert type(again) is TextRegressor and again.names == ("grade",) and again.objective == trained.objective
    np.testing.assert_array_equal(again.predict(rated, verbose=0), expected)
    trained.save(tmp_path / "task.keras")
    again = keras.saving.load_model(tmp_path / "task.keras")
    assert again.evaluate(rated, verbose=0) == pytest.approx(trained.evaluate(rated, verbose=0), rel=1e-5)
    trained.export(tmp_path / "served")
    served = tf.saved_model.load(tmp_path / "served").signatures["serving_default"](text=tf.constant(rated.texts))
    np.testing.assert_allclose(served["value"], expected, rtol=1e-4)
    np.testing.assert_array_equal(served["level"], trained.nearest_levels(rated))
    # A classifier takes the encoder, and not the numbers for logits.
    classifier = TextClassifier.from_preset(tmp_path / "own", labels=["no", "yes"])
    assert "head/logits/kernel" in classifier.newly_initialized
    with pytest.raises(TransformerError, match="labels or num_classes must be given"):
        TextClassifier.from_preset(tmp_path / "own")


def test_several_numbers_a_text(tiny_preset, rated, tmp_path):
    targets = [(grade, float(len(text))) for text, grade in zip(rated.texts, rated.targets, strict=True)]
    regressor = build(tiny_preset, names=NAMES)
    regressor.compile(learning_rate=1e-2)
    regressor.fit(rated.texts, targets, epochs=2, verbose=0, sample_weight=np.ones(60))
    numbers = regressor.predict(rated.texts, verbose=0)
    assert numbers.shape == (60, 2)
    report = regressor.report(Split(rated.texts, targets, numeric=True))
    assert list(report["per_number"]) == NAMES
    regressor.save_to_preset(tmp_path / "two")
    assert set(TextRegressor.from_preset(tmp_path / "two", names=["other"]).newly_initialized) == {
        "head/logits/bias",
        "head/logits/kernel",
    }
    regressor.export(tmp_path / "served")
    served = tf.saved_model.load(tmp_path / "served").signatures["serving_default"](text=tf.constant(rated.texts))
    np.testing.assert_allclose(served["value"], numbers, rtol=1e-3, atol=1e-2)


@pytest.mark.by_default("freeze:1")
@pytest.mark.parametrize("strategy", ["freeze:1", "lora:2", "adapter:4", "layerwise:0.5", "unfreeze", "bitfit", "head"])
def test_every_method_trains_it(tiny_preset, rated, strategy):
    regressor = build(tiny_preset)
    regressor.apply(strategy)
    regressor.compile(learning_rate=1e-2)
    losses = regressor.fit(rated, epochs=3, verbose=0, batch_size=16).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.by_default("dataset")
@pytest.mark.parametrize("way", ["dataset", "packing", "augmentation", "pairs", "xla"])
def test_every_way_of_the_rows(tiny_preset, rated, way):
    regressor = build(tiny_preset)
    regressor.compile(learning_rate=1e-2, jit_compile=way == "xla")
    options = {"packing": {"packing": True}, "augmentation": {"augmentation": "swap:0.2"}}.get(way, {})
    data = (rated,)
    if way == "dataset":
        data = (tf.data.Dataset.from_tensor_slices((rated.texts, rated.targets)).batch(16),)
    elif way == "pairs":
        data = ([(text, text) for text in rated.texts], rated.targets)
    history = regressor.fit(*data, epochs=2, verbose=0, batch_size=16, **options).history
    assert np.isfinite(history["loss"]).all() and 40 < regressor.objective.mean[0] < 60


def test_a_dataset_without_an_end_gives_its_scale(tiny_preset, rated):
    regressor = build(tiny_preset)
    regressor.compile(learning_rate=1e-2)
    rows = tf.data.Dataset.from_tensor_slices((rated.texts, rated.targets)).repeat().batch(20)
    regressor.fit(rows, steps_per_epoch=3, epochs=1, verbose=0)
    assert regressor.objective.mean[0] == pytest.approx(np.mean(rated.targets), rel=1e-5)


@pytest.mark.parametrize("method", ["probe", "head_start", "contrastive"])
def test_methods_that_solve_for_classes_are_refused(tiny_preset, method):
    with pytest.raises(TransformerError, match="is for a classifier with one linear head; got a TextRegressor"):
        build(tiny_preset).apply(method)


def test_bad_targets_are_named_before_anything_is_tokenised(tiny_preset):
    regressor = build(tiny_preset)
    for targets, message in (
        (["1", "x"], "targets must hold numbers; got 'x' in row 1"),
        ([1.0, float("nan")], r"targets must hold finite numbers; got nan in row 1 \(from 0\)"),
        ([[1, 2], [3, 4]], "targets must have 1 numbers in each row, number; got 2"),
    ):
        with pytest.raises(TransformerError, match=message):
            regressor.fit(["good", "bad"], targets, epochs=1, verbose=0)
    with pytest.raises(TransformerError, match="class_weight is for classes"):
        regressor.fit(["good", "bad"], [1.0, 2.0], class_weight="balanced", epochs=1, verbose=0)
    with pytest.raises(TransformerError, match="fit needs labels|fit needs targets"):
        regressor.fit(["good", "bad"], epochs=1, verbose=0)


def test_a_file_of_numbers_is_cut_alike_and_read_with_its_lines(tmp_path):
    path = tmp_path / "rated.csv"
    path.write_text("text,score\n" + "".join(f"text {i},{i % 7 + i / 100}\n" for i in range(100)))
    splits = load_data(path, numeric=True)
    assert splits.train.numeric and splits.train.labels == () and isinstance(splits.train.targets[0], float)
    means = [np.mean(split.targets) for split in splits.present().values()]
    assert max(means) - min(means) < 0.3
    path.write_text("text,score\na,1\nb,two\n")
    with pytest.raises(TransformerError, match=r"'score' must hold numbers; got 'two' in .*rated.csv:3"):
        load_data(path, numeric=True)
    path.write_text("text,score\na,1\nb,1\n")
    with pytest.raises(TransformerError, match="training needs numbers that differ"):
        load_data(path, numeric=True, validation_fraction=0, test_fraction=0)


@pytest.fixture
def pooled(tiny_preset, rated):
    regressor = build(tiny_preset, pooling="cls", pooler=True, names=["grade"])
    regressor.compile(learning_rate=1e-2)
    regressor.fit(rated, epochs=1, verbose=0)
    return regressor


def test_a_folder_of_transformers_keeps_the_units(pooled, rated, tmp_path):
    pooled.save_to_preset(tmp_path / "theirs", format="huggingface")
    stated = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert stated["problem_type"] == "regression" and stated["id2label"] == {"0": "grade"}
    again = load(tmp_path / "theirs")
    assert type(again) is TextRegressor and again.names == ("grade",) and again.objective.scale == (1.0,)
    np.testing.assert_allclose(again.predict(rated, verbose=0), pooled.predict(rated, verbose=0), rtol=1e-4)
    assert "head/logits/kernel" in TextClassifier.from_preset(tmp_path / "theirs", labels=["a", "b"]).newly_initialized


@pytest.mark.live
def test_transformers_reads_the_same_numbers(pooled, rated, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    pooled.save_to_preset(tmp_path / "theirs", format="huggingface")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "theirs").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    with torch.no_grad():
        theirs = model(**tokenizer(rated.texts, padding=True, return_tensors="pt")).logits.numpy()[:, 0]
    np.testing.assert_allclose(pooled.predict(rated, verbose=0), theirs, rtol=1e-4)
    model.save_pretrained(tmp_path / "again")
    tokenizer.save_pretrained(tmp_path / "again")
    np.testing.assert_allclose(load(tmp_path / "again").predict(rated, verbose=0), theirs, rtol=1e-4)
