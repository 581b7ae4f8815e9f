"""Several tasks on one encoder: one task is the single-task classifier, others stay apart, and what users may pass."""

import keras
import numpy as np
import pytest

from tftransformer.data import Split
from tftransformer.errors import TransformerError
from tftransformer.finetuning.methods import GradualUnfreezing
from tftransformer.finetuning.strategy import parse_strategy
from tftransformer.objectives.several import ClassificationTask
from tftransformer.patterns import addresses
from tftransformer.tasks.multi_task import MultiTaskClassifier
from tftransformer.tasks.text_classifier import TextClassifier

LABELS = ("negative", "positive")
TOPICS = ("film", "music", "plot", "story")
STILL = {"dropout": 0.0, "head_dropout": 0.0}


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


def step(model, name, split):
    """One update on the first rows of one task."""
    examples = model.preprocess({name: split})
    model.train_on_batch(*examples.batch(np.arange(8), int(examples.lengths[:8].max())))


@pytest.fixture(scope="module")
def trained(tiny_preset, data):
    model = build(tiny_preset, data, dropout=0.0)
    model.compile(learning_rate=3e-3, fresh_multiplier=3.0)
    history = model.fit(data, epochs=12, batch_size=8, validation_data=data, verbose=0)
    return model, history.history


@pytest.mark.parametrize(
    "kind",
    [
        "single",
        pytest.param("smoothed", marks=pytest.mark.slow),
        pytest.param("multi_label", marks=pytest.mark.slow),
        pytest.param("pairs", marks=pytest.mark.slow),
        pytest.param("weighted", marks=pytest.mark.slow),
    ],
)
def test_one_task_is_the_single_task_classifier(kind, tiny_preset, data):
    split = data[{"multi_label": "topics", "pairs": "pair"}.get(kind, "mood")]
    split = split.take(range(min(len(split), 18)))  # three batches, the last one short
    alone = build(tiny_preset, None, labels=split.labels, multi_label=split.multi_label, seed=3, **STILL)
    together = build(tiny_preset, {"own": split}, seed=3, **STILL)
    weights = np.linspace(0, 2, len(split)) if kind == "weighted" else None
    given = {"own": split if weights is None else (split.texts, split.targets, weights)}
    losses = []
    for model, x, own in ((alone, split, {"sample_weight": weights}), (together, given, {})):
        smoothing = 0.1 if kind == "smoothed" else 0.0
        model.compile(keras.optimizers.SGD(0.1), label_smoothing=smoothing, run_eagerly=kind == "single")
        history = model.fit(x, batch_size=7, epochs=2, shuffle=kind != "smoothed", verbose=0, **own)
        losses.append(history.history["loss"])
    alone, together = values(alone), values(together)
    assert np.abs(alone["head/logits/kernel"]).max() > 0.05  # it went somewhere
    for name, value in together.items():
        np.testing.assert_allclose(value, alone[name.replace("head/own/", "head/")], atol=1e-6, err_msg=name)
    np.testing.assert_allclose(*losses, atol=1e-6)


def test_a_batch_of_one_task_moves_its_head_alone_and_loss_weights_scale_it(tiny_preset, data):
    moves = []
    for weights in (None, {"mood": 3.0}):
        model = build(tiny_preset, data, **STILL)
        # One step: tracing it would take longer than doing it.
        model.compile(keras.optimizers.SGD(0.01), loss_weights=weights, run_eagerly=True)
        before = values(model)
        step(model, "mood", data["mood"])
        moves.append({name: value - before[name] for name, value in values(model).items()})
    changed = {name for name, move in moves[0].items() if move.any()}
    assert "head/mood/logits/kernel" in changed and any(name.startswith("encoder_block") for name in changed)
    assert not [name for name in changed if name.startswith(("head/topics", "head/pair"))]
    for name, move in moves[1].items():
        np.testing.assert_allclose(move, 3.0 * moves[0][name], rtol=1e-3, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_it_learns_and_logs_each(trained, data):
    _, history = trained
    assert history["mood_accuracy"][-1] > 0.9
    assert history["topics_loss"][-1] < history["topics_loss"][0]
    expected = {"loss"} | {f"{task}_loss" for task in data} | {"mood_accuracy", "mood_macro_f1", "pair_accuracy",
                "pair_macro_f1", "topics_micro_f1", "topics_macro_f1"}  # fmt: skip
    assert set(history) == expected | {f"val_{name}" for name in expected}
    rows = {task: len(split) for task, split in data.items()}
    mean = sum(history[f"val_{task}_loss"][-1] * count for task, count in rows.items()) / sum(rows.values())
    np.testing.assert_allclose(history["val_loss"][-1], mean, rtol=1e-5)


@pytest.mark.slow
def test_evaluate_predict_and_report_agree_and_are_by_task(trained, data):
    model, history = trained
    logs = model.evaluate(data, verbose=0)
    for name, value in logs.items():
        np.testing.assert_allclose(value, history[f"val_{name}"][-1], rtol=1e-4)
    texts, targets = data["mood"].texts, data["mood"].targets
    alone = model.evaluate(data["mood"], task="mood", verbose=0)
    assert set(alone) == {"loss", "mood_loss", "mood_accuracy", "mood_macro_f1"}
    assert model.evaluate(texts, targets, task="mood", verbose=0) == pytest.approx(alone, rel=1e-5)
    np.testing.assert_allclose(alone["mood_loss"], logs["mood_loss"], rtol=1e-5)
    found = model.predict({name: split.texts for name, split in data.items()}, verbose=0)
    shapes = {name: rows.shape for name, rows in found.items()}
    assert shapes == {"mood": (60, 2), "topics": (40, 4), "pair": (10, 2)}
    np.testing.assert_array_equal(model.predict(texts, task="mood", verbose=0), found["mood"])
    np.testing.assert_allclose(found["mood"].sum(axis=1), 1.0, atol=1e-5)
    # The losses once more, from the probabilities.
    for name in ("mood", "pair"):
        right = found[name][np.arange(len(data[name])), model.tasks[name].encode(data[name].targets).values]
        np.testing.assert_allclose(logs[f"{name}_loss"], -np.log(right).mean(), rtol=1e-4)
    chosen = model.tasks["topics"].encode(data["topics"].targets).values
    entropy = -np.log(np.where(chosen > 0.5, found["topics"], 1 - found["topics"]))
    np.testing.assert_allclose(logs["topics_loss"], entropy.mean(), rtol=1e-4)
    reports = model.report(data)
    np.testing.assert_allclose(reports["mood"]["accuracy"], logs["mood_accuracy"], atol=1e-6)
    np.testing.assert_allclose(reports["topics"]["macro_f1"], logs["topics_macro_f1"], atol=1e-6)
    assert str(model.report(data["pair"], task="pair")).startswith("Test: 10 texts")
    assert model.predict([], task="mood", verbose=0).shape == (0, 2)
    assert 0 <= model.tune_threshold(data["topics"], task="topics") <= 1


@pytest.mark.slow
def test_steps_count_from_the_first_rows_of_each_task(tiny_preset, data):
    model = build(tiny_preset, data)
    model.compile(run_eagerly=True)
    first = {name: split.take(range(6)) for name, split in data.items()}
    whole = model.evaluate(first, batch_size=3, verbose=0)
    assert model.evaluate(data, batch_size=3, steps=2, verbose=0) == pytest.approx(whole, abs=1e-6)
    examples = model.preprocess(data).first(6)
    assert examples.sizes == (6, 6, 6) and len(examples) == 18
    assert [len(model.preprocess(data).first(30))] == [30 + 30 + len(data["pair"])]
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    options = {"validation_data": data, "validation_steps": 2, "epochs": 1, "batch_size": 3, "verbose": 0}
    history = model.fit({name: split.take([0]) for name, split in data.items()}, **options).history
    assert {name: history[f"val_{name}"][0] for name in whole} == pytest.approx(whole, abs=1e-6)


@pytest.mark.slow
def test_validation_may_leave_tasks_out_and_keras_knows_which_way_is_better(tiny_preset, data):
    model = build(tiny_preset, data)
    model.compile()
    watch = [keras.callbacks.EarlyStopping(f"val_pair_{name}", patience=3) for name in ("loss", "macro_f1")]
    history = model.fit(
        data, batch_size=32, epochs=2, validation_data={"pair": data["pair"]}, verbose=0, callbacks=watch,
        sampling={"mood": 1, "topics": 1, "pair": 1},
    ).history  # fmt: skip
    assert {name for name in history if name.startswith("val_")} == {
        "val_loss", "val_pair_loss", "val_pair_accuracy", "val_pair_macro_f1"
    }  # fmt: skip
    assert history["val_loss"] == pytest.approx(history["val_pair_loss"])
    assert [callback.monitor_op(1, 2) for callback in watch] == [True, False]


@pytest.mark.slow
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
    assert {name.split("/")[1] for name in mixed.load_summary.newly_initialized} == {"pair", "own"}
    with pytest.raises(TransformerError):
        model.save_to_preset(tmp_path / "model")
    model.save(tmp_path / "model.keras")
    whole = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(whole.predict(texts, verbose=0)["pair"], expected["pair"], atol=1e-6)
    logs = whole.evaluate(data["pair"], task="pair", verbose=0)
    assert logs == pytest.approx(model.evaluate(data["pair"], task="pair", verbose=0), rel=1e-4)


def test_encoders_go_from_one_task_to_several_and_back(two_block_preset, tmp_path):
    several = build(two_block_preset, {"mood": LABELS, "topic": TOPICS})
    several.save_to_preset(tmp_path / "several")
    single = TextClassifier.from_preset(tmp_path / "several", labels=LABELS)
    assert set(single.load_summary.newly_initialized) == {"head/logits/kernel", "head/logits/bias"}
    single.save_to_preset(tmp_path / "single")
    again = MultiTaskClassifier.from_preset(tmp_path / "single", tasks={"mood": LABELS})
    assert {name.split("/")[0] for name in again.load_summary.newly_initialized} == {"head"}
    kernel = "encoder_block_1/attention/query/kernel"
    np.testing.assert_array_equal(values(again)[kernel], values(several)[kernel])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["freeze:1", "head", "bitfit", "lora:2", "adapter:4", "prefix:3"])
def test_strategies_work_on_it_and_are_saved(strategy, tiny_preset, data, tmp_path):
    model = build(tiny_preset, data)
    model.apply(strategy)
    model.compile(learning_rate=1e-2)
    frozen = {name for name, weight in addresses(model).items() if not weight.trainable}
    before = values(model)
    model.fit(data, batch_size=16, sampling="equal", verbose=0, epochs=1)
    after = values(model)
    changed = {name for name in after if not np.array_equal(after[name], before[name])}
    assert frozen and not changed & frozen
    assert {name.split("/")[1] for name in changed if name.startswith("head/")} == set(data)
    model.save_to_preset(tmp_path / "model")
    loaded = MultiTaskClassifier.from_preset(tmp_path / "model")
    texts = data["mood"].texts[:7]
    np.testing.assert_array_equal(
        loaded.predict(texts, task="mood", verbose=0), model.predict(texts, task="mood", verbose=0)
    )


@pytest.mark.slow
def test_stored_prefixes_give_the_same_weights(two_block_preset, data, capsys):
    found = []
    for cache in ("auto", "off"):
        model = build(two_block_preset, data, **STILL)
        parse_strategy("freeze:1").apply(model)
        model.compile(keras.optimizers.SGD(0.1))
        model.fit(data, epochs=2, batch_size=16, validation_data=data, activation_cache=cache, verbose=2)
        assert ("activation cache" in capsys.readouterr().out) == (cache == "auto")
        found.append(values(model))
    for name, value in found[0].items():
        np.testing.assert_allclose(value, found[1][name], atol=1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["packing", "unfreezing"])
def test_options_of_fit_that_any_task_has(option, two_block_preset, data):
    model = build(two_block_preset, data, **STILL)
    model.compile(learning_rate=1e-3)
    before = values(model)
    given = {"packing": True} if option == "packing" else {}
    model.apply("full" if option == "packing" else GradualUnfreezing())
    history = model.fit(data, epochs=3, batch_size=16, verbose=0, **given)
    assert len(history.history["mood_accuracy"]) == 3
    changed = {name.split("/")[0] for name, value in values(model).items() if (value != before[name]).any()}
    assert {"head", "encoder_block_0", "encoder_block_1"} <= changed


@pytest.mark.parametrize(
    ("tasks", "part"),
    [
        ({}, "at least one task"),
        ({"a/b": LABELS}, "letters, digits and _"),
        ({3: LABELS}, "letters, digits and _"),
        ({"val_x": LABELS}, "must not be called val"),
        ({"SST2": LABELS, "sst2": LABELS}, "got 'SST2' and 'sst2'"),
        ([("mood", LABELS)], "tasks must be labels or a Split by name"),
        ({"mood": "no"}, "task 'mood': labels must be the names of the classes, in a list; got 'no'"),
        ({"mood": 3}, "task 'mood': labels must be the names of the classes, in a list; got 3"),
        ({"mood": ["no"]}, "task 'mood': labels must be at least two"),
        ({"mood": Split(["a"])}, "task 'mood': labels must be at least two"),
        ({"mood": {"lables": ["no", "yes"]}}, "task 'mood' must have labels"),
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
        (lambda: model.fit(mood, epochs=1), "x must have data by task"),
        (lambda: model.fit({}, epochs=1), "without any"),
        (lambda: model.fit(some, epochs=1), "'pair' has none"),
        (lambda: model.fit({**some, "pair": None}, epochs=1), "'pair' has none"),
        (lambda: model.fit({**data, "pairs": pair}, epochs=1), "no task 'pairs'.*did you mean 'pair'"),
        (lambda: model.fit({**some, "pair": Split([], [])}, epochs=1), "must have rows; 'pair' has none"),
        (lambda: model.fit({**some, "pair": pair.texts}, epochs=1), "'pair' must have labels"),
        (lambda: model.fit({**some, "pair": (mood.texts, ["same"] * 60)}, epochs=1), "is of pairs of texts; got single texts"),
        (lambda: model.fit({**some, "pair": (pair.texts, ["sme"] * 10)}, epochs=1), "task 'pair': .*'sme'"),
        (lambda: model.fit(data, y=[1], epochs=1), "does not go with"),
        (lambda: model.fit(data, sample_weight=[1], epochs=1), "sample_weight does not go with"),
        (lambda: model.fit(data, validation_split=0.1, epochs=1), "does not go with"),
        (lambda: model.fit(data, class_weight="balanced", epochs=1), "class_weight does not go with"),
        (lambda: model.fit(data, augmentation="swap:0.1", epochs=1), "augmentation does not go with"),
        (lambda: model.fit(data, sampling="equl", epochs=1), "sampling must be"),
        (lambda: model.fit(data, validation_data={"moods": mood}, epochs=1), "validation_data: there is no task"),
        (lambda: model.evaluate(data, sample_weight=[1]), "sample_weight does not go with"),
        (lambda: model.predict(["a"], task="moods"), "did you mean 'mood'"),
        (lambda: model.predict(None, task="mood"), "'mood' has none"),
        (lambda: model.predict(["a"]), "data must have data by task"),
        (lambda: model.tune_threshold(mood, task="mood"), "tune_threshold is for multi-label"),
        (lambda: model.compile(loss="mse"), "takes no loss"),
        (lambda: model.compile(learning_rat=1e-3), "did you mean 'learning_rate'"),
        (lambda: model.compile(label_smoothing=1.0), "label_smoothing"),
        (lambda: model.compile(loss_weights={"moods": 1.0}), "did you mean 'mood'"),
        (lambda: model.compile(loss_weights={"mood": 0}), "must be positive"),
        (lambda: model.compile(loss_weights=2.0), "numbers by task"),
    ]  # fmt: skip
    for call, part in cases:
        with pytest.raises(TransformerError, match=part) as error:
            call()
        assert "\n" not in str(error.value)


def test_a_task_of_ones_own_is_not_changed(tiny_preset):
    task = ClassificationTask(LABELS)
    model = build(tiny_preset, {"mood": task})
    model.tasks["mood"].threshold = 0.25
    assert task.threshold == 0.5


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_a_summary_shows_the_parts(tiny_preset, pooling, capsys):
    tasks = {"mood": list(LABELS), "topics": list(TOPICS)}
    build(tiny_preset, tasks, pooling=pooling).summary()
    said = capsys.readouterr().out
    assert "pooler" in said and "TaskHeads" in said
