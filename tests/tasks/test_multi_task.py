"""Several tasks on one encoder: one task is the single-task classifier, others stay apart, and what users may pass."""

import keras
import numpy as np
import pytest

from tftransformer.data import Split
from tftransformer.errors import TransformerError
from tftransformer.finetuning import freeze
from tftransformer.finetuning.lora import enable_lora
from tftransformer.patterns import addresses
from tftransformer.tasks.labelled import ClassificationTask
from tftransformer.tasks.multi_task import MultiTaskClassifier
from tftransformer.tasks.text_classifier import TextClassifier

LABELS = ("negative", "positive")
TOPICS = ("film", "music", "plot", "story")


@pytest.fixture(scope="module")
def data(reviews):
    """A task of each kind: single-label, multi-label, pairs."""
    texts, labels = reviews
    topics = [tuple(topic for topic in TOPICS if topic in text.split()) for text in texts]
    pairs = list(zip(texts[:20], texts[1:21]))
    same = ["same" if a == b else "other" for a, b in zip(labels[:20:2], labels[1:21:2])]
    return {
        "mood": Split(texts, labels),
        "topics": Split(texts[:40], topics[:40], multi_label=True),
        "pair": Split(pairs[::2], [*same[:-1], "same"]),
    }


def build(preset, tasks, **options):
    keras.utils.set_random_seed(0)
    if tasks is None:
        return TextClassifier.from_preset(preset, **options)
    return MultiTaskClassifier.from_preset(preset, tasks=tasks, **options)


def values(model):
    return {name: keras.ops.convert_to_numpy(variable).copy() for name, variable in addresses(model).items()}


@pytest.fixture(scope="module")
def trained(tiny_preset, data):
    model = build(tiny_preset, data, dropout=0.0)
    model.compile(learning_rate=3e-3, fresh_multiplier=3.0)
    history = model.fit(data, epochs=12, batch_size=8, sampling="equal", validation_data=data, verbose=0)
    return model, history.history


@pytest.mark.parametrize(("loss", "shuffle"), [("single", True), ("smoothed", False), ("multi_label", True)])
def test_one_task_is_the_single_task_classifier(loss, shuffle, tiny_preset, reviews, data):
    split = data["topics"] if loss == "multi_label" else Split(*reviews)
    options = {"label_smoothing": 0.1} if loss == "smoothed" else {}
    own = {"seed": 3, "dropout": 0.0, "head_dropout": 0.0}
    alone = build(tiny_preset, None, labels=split.labels, multi_label=split.multi_label, **own)
    together = build(tiny_preset, {"own": split}, **own)
    losses = []
    for model, train in ((alone, split), (together, {"own": split})):
        model.compile(keras.optimizers.SGD(0.1), **options)
        losses.append(model.fit(train, batch_size=7, epochs=2, shuffle=shuffle, verbose=0).history["loss"])
    alone, together = values(alone), values(together)
    assert np.abs(alone["head/logits/kernel"]).max() > 0.05  # it went somewhere
    for name, value in together.items():
        np.testing.assert_allclose(value, alone[name.replace("head/own/", "head/")], atol=1e-6, err_msg=name)
    np.testing.assert_allclose(*losses, atol=1e-6)


def test_a_batch_of_one_task_leaves_the_other_heads_alone(tiny_preset, data):
    model = build(tiny_preset, data)
    model.compile(keras.optimizers.SGD(0.5))
    before = values(model)
    examples = model.preprocess({"mood": data["mood"]})
    model.train_on_batch(*examples.batch(np.arange(8), int(examples.lengths[:8].max())))
    changed = {name for name, value in values(model).items() if not np.array_equal(value, before[name])}
    assert "head/mood/logits/kernel" in changed and any(name.startswith("encoder_block") for name in changed)
    assert not [name for name in changed if name.startswith(("head/topics", "head/pair"))]


def test_it_learns_all_kinds_and_logs_each(trained, data):
    model, history = trained
    assert history["mood_accuracy"][-1] > 0.9 and history["topics_micro_f1"][-1] > 0.9
    assert history["pair_loss"][-1] < history["pair_loss"][0]
    expected = {"loss"} | {f"{task}_loss" for task in data} | {"mood_accuracy", "mood_macro_f1", "pair_accuracy",
                "pair_macro_f1", "topics_micro_f1", "topics_macro_f1"}  # fmt: skip
    assert set(history) == expected | {f"val_{name}" for name in expected}
    rows = {task: len(split) for task, split in data.items()}
    mean = sum(history[f"val_{task}_loss"][-1] * count for task, count in rows.items()) / sum(rows.values())
    np.testing.assert_allclose(history["val_loss"][-1], mean, rtol=1e-5)


def test_evaluate_predict_and_report_agree_and_are_by_task(trained, data):
    model, history = trained
    logs = model.evaluate(data, verbose=0)
    for name, value in logs.items():
        np.testing.assert_allclose(value, history[f"val_{name}"][-1], rtol=1e-4)
    alone = model.evaluate(data["mood"], task="mood", verbose=0)
    assert set(alone) == {"loss", "mood_loss", "mood_accuracy", "mood_macro_f1"}
    np.testing.assert_allclose(alone["mood_loss"], logs["mood_loss"], rtol=1e-5)
    texts, targets = data["mood"].texts, data["mood"].targets
    assert model.evaluate(texts, targets, task="mood", verbose=0) == pytest.approx(alone, rel=1e-5)
    found = model.predict({name: split.texts for name, split in data.items()}, verbose=0)
    assert {name: rows.shape for name, rows in found.items()} == {
        "mood": (60, 2),
        "topics": (40, 4),
        "pair": (10, 2),
    }
    np.testing.assert_array_equal(model.predict(texts, task="mood", verbose=0), found["mood"])
    np.testing.assert_allclose(found["mood"].sum(axis=1), 1.0, atol=1e-5)
    assert np.abs(found["topics"].sum(axis=1) - 1.0).max() > 0.1
    reports = model.report(data)
    np.testing.assert_allclose(reports["mood"]["accuracy"], logs["mood_accuracy"], atol=1e-6)
    np.testing.assert_allclose(reports["topics"]["macro_f1"], logs["topics_macro_f1"], atol=1e-6)
    assert str(model.report(data["pair"], task="pair")).startswith("Test: 10 texts")
    assert model.predict([], task="mood", verbose=0).shape == (0, 2)
    assert 0 <= model.tune_threshold(data["topics"], task="topics") <= 1
    with pytest.raises(TransformerError, match="tune_threshold is for multi-label"):
        model.tune_threshold(data["mood"], task="mood")


def test_validation_may_leave_tasks_out_and_says_nothing_of_them(tiny_preset, data):
    model = build(tiny_preset, data)
    model.compile()
    history = model.fit(
        data, batch_size=32, validation_data={"pair": data["pair"]}, verbose=0, sampling={"mood": 1, "topics": 1, "pair": 1}
    ).history  # fmt: skip
    assert {name for name in history if name.startswith("val_")} == {
        "val_loss", "val_pair_loss", "val_pair_accuracy", "val_pair_macro_f1"
    }  # fmt: skip
    assert history["val_loss"] == pytest.approx(history["val_pair_loss"])


def test_loss_weights_scale_the_gradient_of_a_task(tiny_preset, data):
    steps = []
    for weights in (None, {"mood": 3.0}):
        model = build(tiny_preset, data, dropout=0.0, head_dropout=0.0)
        model.compile(keras.optimizers.SGD(0.01), loss_weights=weights)
        before = values(model)["head/mood/logits/bias"]
        examples = model.preprocess({"mood": data["mood"]})
        model.train_on_batch(*examples.batch(np.arange(8), int(examples.lengths[:8].max())))
        steps.append(values(model)["head/mood/logits/bias"] - before)
    np.testing.assert_allclose(steps[1], 3.0 * steps[0], rtol=1e-4)


def test_saved_and_loaded_it_says_the_same(trained, data, tmp_path):
    model = trained[0]
    texts = {name: split.texts for name, split in data.items()}
    expected = model.predict(texts, verbose=0)
    model.save_to_preset(tmp_path / "model")
    loaded = MultiTaskClassifier.from_preset(tmp_path / "model")
    assert loaded.tasks == model.tasks
    for name, rows in loaded.predict(texts, verbose=0).items():
        np.testing.assert_array_equal(rows, expected[name], err_msg=name)
    # One task kept, one with other labels, one new: only the first has its head.
    tasks = {"mood": LABELS, "pair": ["no", "yes"], "own": ["x", "y", "z"]}
    mixed = MultiTaskClassifier.from_preset(tmp_path / "model", tasks=tasks)
    np.testing.assert_array_equal(mixed.predict(texts["mood"], task="mood", verbose=0), expected["mood"])
    assert {name.split("/")[1] for name in mixed.load_summary.fresh} == {"pair", "own"}
    # Its encoder is one that a classifier of a single task begins with.
    single = TextClassifier.from_preset(tmp_path / "model", labels=LABELS)
    assert set(single.load_summary.fresh) == {"head/logits/kernel", "head/logits/bias"}
    model.save(tmp_path / "model.keras")
    whole = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(whole.predict(texts, verbose=0)["pair"], expected["pair"], atol=1e-6)
    logs = whole.evaluate(data["pair"], task="pair", verbose=0)
    assert logs == pytest.approx(model.evaluate(data["pair"], task="pair", verbose=0), rel=1e-4)


def test_strategies_change_it_as_any_model(tiny_preset, data, tmp_path):
    model = build(tiny_preset, data)
    freeze(model, layers=1)
    enable_lora(model, rank=2)
    model.compile(learning_rate=1e-2)
    before = values(model)
    model.fit(data, batch_size=16, verbose=0)
    after = values(model)
    changed = {name for name in after if not np.array_equal(after[name], before[name])}
    assert all("lora" in name or name.startswith("head/") for name in changed)
    assert {name.split("/")[1] for name in changed if name.startswith("head/")} == set(data)
    model.save_to_preset(tmp_path / "model")
    loaded = MultiTaskClassifier.from_preset(tmp_path / "model")
    texts = data["mood"].texts[:7]
    np.testing.assert_array_equal(
        loaded.predict(texts, task="mood", verbose=0), model.predict(texts, task="mood", verbose=0)
    )


@pytest.mark.parametrize(
    ("tasks", "part"),
    [
        ({}, "at least one task"),
        ({"a/b": LABELS}, "letters, digits and _"),
        ({3: LABELS}, "letters, digits and _"),
        ({"val_x": LABELS}, "must not be called val"),
        ({"SST2": LABELS, "sst2": LABELS}, "got 'SST2' and 'sst2'"),
        ([("mood", LABELS), ("mood", LABELS)], "different names"),
        ({"mood": "no"}, "task 'mood' must have labels"),
        ({"mood": 3}, "task 'mood' must have labels"),
        ({"mood": ["no"]}, "task 'mood': labels must be at least two"),
        ({"mood": {"lables": ["no", "yes"]}}, "task 'mood' must state labels"),
        (None, "was not saved with several tasks"),
    ],
)
def test_tasks_that_cannot_be(tasks, part, tiny_preset):
    with pytest.raises(TransformerError, match=part) as error:
        MultiTaskClassifier.from_preset(tiny_preset, tasks=tasks)
    assert "\n" not in str(error.value)


def test_mistakes_in_data_and_options(tiny_preset, data):
    model = build(tiny_preset, data)
    mood, pair = data["mood"], data["pair"]
    some = {name: split for name, split in data.items() if name != "pair"}
    cases = [
        (lambda: model.fit(mood), "x must have data by task"),
        (lambda: model.fit({}), "without any"),
        (lambda: model.fit(some), "'pair' has none"),
        (lambda: model.fit({**data, "pairs": pair}), "no task 'pairs'.*did you mean 'pair'"),
        (lambda: model.fit({**some, "pair": Split([], [])}), "must have rows; 'pair' has none"),
        (lambda: model.fit({**some, "pair": pair.texts}), "must have labels; 'pair' has none"),
        (lambda: model.fit({**some, "pair": (mood.texts, ["same"] * 60)}), "is of pairs of texts; got single texts"),
        (lambda: model.fit(data, y=[1]), "does not go with"),
        (lambda: model.fit(data, sample_weight=[1]), "does not go with"),
        (lambda: model.fit(data, validation_split=0.1), "does not go with"),
        (lambda: model.fit(data, augmentation="swap:0.1"), "augmentation does not go with"),
        (lambda: model.fit(data, class_weight="balanced"), "class_weight"),
        (lambda: model.fit(data, sampling="equl"), "sampling must be"),
        (lambda: model.fit(data, validation_data={"moods": mood}), "validation_data: there is no task"),
        (lambda: model.predict(["a"], task="moods"), "did you mean 'mood'"),
        (lambda: model.predict(["a"]), "data must have data by task"),
        (lambda: model.compile(loss="mse"), "takes no loss"),
        (lambda: model.compile(label_smoothing=1.0), "label_smoothing"),
        (lambda: model.compile(loss_weights={"moods": 1.0}), "did you mean 'mood'"),
        (lambda: model.compile(loss_weights={"mood": 0}), "must be positive"),
        (lambda: model.compile(loss_weights=2.0), "numbers by task"),
    ]  # fmt: skip
    for call, part in cases:
        with pytest.raises(TransformerError, match=part) as error:
            call()
        assert "\n" not in str(error.value)


def test_weights_of_rows_count(tiny_preset, reviews):
    texts, labels = reviews
    weights = np.linspace(0, 2, 60)
    found = []
    for x in ({"mood": (texts, labels, weights)}, {"mood": (texts, labels)}):
        model = build(tiny_preset, {"mood": LABELS}, dropout=0.0, head_dropout=0.0)
        model.compile(keras.optimizers.SGD(0.1))
        model.fit(x, batch_size=60, verbose=0)
        found.append(values(model)["head/mood/logits/bias"])
    assert np.abs(found[0] - found[1]).max() > 1e-4
    single = build(tiny_preset, None, labels=LABELS, dropout=0.0, head_dropout=0.0)
    single.compile(keras.optimizers.SGD(0.1))
    single.fit(texts, labels, sample_weight=weights, batch_size=60, verbose=0)
    np.testing.assert_allclose(found[0], values(single)["head/logits/bias"], atol=1e-6)


def test_a_task_of_ones_own_is_not_changed(tiny_preset):
    task = ClassificationTask(LABELS)
    model = build(tiny_preset, {"mood": task})
    model.predict(["good"], task="mood", verbose=0)
    assert task.text_pairs is None and model.tasks["mood"].text_pairs is False
