"""`fit` without a number of epochs: the recipe is followed, said, and can be given."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.data.split import Split
from tftransformer.errors import TransformerError
from tftransformer.finetuning.methods import HeadStart, LoRA
from tftransformer.finetuning.recipe import choose_recipe
from tftransformer.tasks.text_classifier import TextClassifier
from tftransformer.training.planning import recipe_for, sample

LABELS = ("negative", "positive")


def build(preset, **options):
    keras.utils.set_random_seed(5)
    return TextClassifier.from_preset(preset, **{"labels": LABELS, "sequence_length": 12, **options})


def many(reviews, rows=120):
    texts, labels = reviews
    return Split([f"{text} {word}" for text in texts for word in ("film", "story")][:rows],
                 [label for label in labels for _ in range(2)][:rows])  # fmt: skip


class Keras(Exception):
    """Stands for Keras's loop, which these tests need not run."""


@pytest.fixture
def given(monkeypatch):
    """What Keras is given."""
    seen = {}

    def fit(self, *data, **options):
        seen.update(options)
        raise Keras

    monkeypatch.setattr(keras.Model, "fit", fit)
    return seen


@pytest.mark.slow
def test_few_rows_are_brought_together_and_no_update_follows(tiny_preset, reviews, capsys):
    classifier = build(tiny_preset)
    classifier.compile(run_eagerly=True)
    history = classifier.fit(Split(*reviews), verbose=2)
    printed = capsys.readouterr().out
    assert "60 rows, 2 labels, 16 wide: contrastive:150\n" in printed
    assert classifier.methods == () and int(classifier.optimizer.iterations) == 0
    assert set(history.history) == {"loss", "accuracy", "macro_f1"}
    assert history.history["accuracy"][0] > 0.75
    # What was chosen for these rows is over with them.
    classifier.fit(Split(*reviews), epochs=2, verbose=0)
    assert int(classifier.optimizer.iterations) == 8


def test_more_rows_have_updates_enough_from_a_solved_head(tiny_preset, reviews, given, capsys):
    classifier = build(tiny_preset)
    classifier.compile()
    with pytest.raises(Keras):
        classifier.fit(many(reviews), verbose=2)
    assert "120 rows, 2 labels, 16 wide: head_start, rate 1e-4, 32 epochs of 8 updates, 16 rows a batch" in (
        capsys.readouterr().out
    )
    assert given["epochs"] == 32 and classifier.methods == (HeadStart(),)
    assert set(classifier.optimizer.get_config()["rate_multipliers"].values()) == {1.0}


def test_what_was_chosen_stays(tiny_preset, reviews, given):
    classifier = build(tiny_preset)
    classifier.apply(LoRA(2))
    classifier.compile(keras.optimizers.SGD(0.5))
    kernel = np.array(classifier.head.logits.kernel)
    with pytest.raises(Keras):
        classifier.fit(many(reviews), verbose=0)
    assert given["epochs"] == 32 and classifier.methods == ()
    np.testing.assert_array_equal(classifier.head.logits.kernel, kernel)
    assert isinstance(classifier.optimizer, keras.optimizers.SGD)


def test_an_optimizer_of_ones_own_trains_from_the_solved_head(tiny_preset, reviews, given):
    classifier = build(tiny_preset)
    classifier.compile(keras.optimizers.SGD(0.5))
    kernel = np.array(classifier.head.logits.kernel)
    with pytest.raises(Keras):
        classifier.fit(many(reviews), verbose=0)
    assert not np.allclose(classifier.head.logits.kernel, kernel) and float(classifier.optimizer.learning_rate) == 0.5


GIVEN = {
    "optimizer": (keras.optimizers.SGD(0.25), None, "rate 2.5e-1"),
    "loss": (None, keras.losses.CategoricalHinge(), "rate 1e-4"),
    "learning_rate": (None, None, "rate 1e-3"),
    "label_smoothing": (None, None, "rate 1e-4"),
    "schedule": (None, None, "rate 1e-4"),
    "gradient_accumulation_steps": (None, None, "rate 1e-4"),
}
VALUES = {"learning_rate": 1e-3, "label_smoothing": 0.1, "schedule": "cosine", "gradient_accumulation_steps": 2}


@pytest.mark.parametrize("name", GIVEN)
def test_what_was_compiled_trains_also_few_rows(tiny_preset, reviews, given, capsys, name):
    """Contrastive training would have made no update of it."""
    classifier = build(tiny_preset)
    optimizer, loss, rate = GIVEN[name]
    classifier.compile(optimizer, loss, **{name: VALUES[name] for name in [name] if name in VALUES})
    compiled = classifier.loss
    with pytest.raises(Keras):
        classifier.fit(Split(*reviews), verbose=2)
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith(f"60 rows, 2 labels, 16 wide: head_start, {rate}, ") and line.endswith(f"; as given: {name}")
    assert given["epochs"] * 4 >= 250
    if name == "optimizer":
        assert classifier.optimizer is optimizer
    if name == "loss":
        assert type(classifier.loss) is type(compiled)
    if name == "label_smoothing":
        assert classifier.loss.label_smoothing == 0.1
    if name == "learning_rate":
        assert classifier.optimizer._learning_rate.peak == 1e-3


def test_a_rate_of_none_is_none_given(tiny_preset):
    classifier = build(tiny_preset)
    classifier.compile(learning_rate=None, global_clipnorm=None)
    assert classifier.compiled_with == ("global_clipnorm",)


def test_an_objective_says_how_many_updates_few_rows_want(tiny_preset, reviews):
    classifier = build(tiny_preset)
    classifier.objective.least_updates = 400
    assert recipe_for(classifier, 160, batch_size=16).updates == 400


def test_what_fit_was_given_has_updates_too(tiny_preset, reviews, given, capsys):
    for options in ({"augmentation": "swap:0.1"}, {"steps_per_epoch": 3}):
        classifier = build(tiny_preset)
        with pytest.raises(Keras):
            classifier.fit(Split(*reviews), verbose=2, **options)
        assert f"; as given: {next(iter(options))}\n" in capsys.readouterr().out


def test_the_line_has_the_rate_that_trains(tiny_preset, reviews, given, capsys):
    classifier = build(tiny_preset)
    classifier.apply("freeze:0")
    classifier.compile(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 100)))
    with pytest.raises(Keras):
        classifier.fit(many(reviews), verbose=2)
    assert "16 wide: head_start, as applied, rate as compiled, 32 epochs" in capsys.readouterr().out


def test_the_size_of_a_batch_is_that_of_contrastive_training_too(tiny_preset, reviews, monkeypatch, capsys):
    from tftransformer.finetuning.methods import contrastive

    sizes = []
    monkeypatch.setattr(
        contrastive, "_train_pairs", lambda task, examples, weights, method: sizes.append(method.batch_size) or 0.0
    )
    classifier = build(tiny_preset)
    classifier.fit(Split(*reviews), batch_size=8, verbose=2)
    assert sizes == [8] and "16 wide: contrastive:150, 8 rows a batch\n" in capsys.readouterr().out


def test_a_number_of_epochs_is_keras(tiny_preset, reviews, given):
    classifier = build(tiny_preset)
    classifier.compile()
    with pytest.raises(Keras):
        classifier.fit(many(reviews), epochs=3, validation_data=many(reviews), verbose=0)
    assert given["epochs"] == 3 and given["validation_freq"] == 1 and classifier.methods == ()


@pytest.mark.parametrize("kind", ["dataset", "trained head", "random encoder"])
def test_where_no_head_can_be_solved_for_updates_are_enough(tiny_preset, reviews, given, tmp_path, kind):
    rows = many(reviews)
    if kind == "trained head":
        build(tiny_preset).save_to_preset(tmp_path / "trained")
        tiny_preset = tmp_path / "trained"
    classifier = build(tiny_preset, load_weights=kind != "random encoder")
    classifier.compile()
    if kind == "dataset":
        rows = tf.data.Dataset.from_tensor_slices((list(rows.texts), list(rows.targets)))
    kernel = np.array(classifier.head.logits.kernel)
    with pytest.raises(Keras):
        classifier.fit(rows, verbose=0)
    np.testing.assert_array_equal(classifier.head.logits.kernel, kernel)
    assert given["epochs"] == 32


class Watch(keras.callbacks.Callback):
    """A callback of a user's own."""

    def __init__(self, monitor):
        super().__init__()
        self.monitor = monitor


def test_validation_is_by_plan_unless_asked_for(tiny_preset, reviews, given, capsys):
    classifier = build(tiny_preset)
    classifier.compile()
    rows, more = many(reviews), many(reviews).take(list(range(120)) * 10)
    for options, freq, size in (
        ({}, 10, 288), ({"validation_freq": 16}, 16, 288), ({"validation_steps": 2}, 1, 32),
        ({"callbacks": [keras.callbacks.EarlyStopping()]}, 32, 100),
        ({"callbacks": [keras.callbacks.ModelCheckpoint("best.keras", save_best_only=True)]}, 32, 100),
        ({"callbacks": keras.callbacks.ModelCheckpoint("best.keras", monitor="val_macro_f1", save_best_only=True)}, 32, 100),
        ({"callbacks": [keras.callbacks.ModelCheckpoint("all.keras")]}, 10, 288),
        ({"callbacks": [keras.callbacks.EarlyStopping("loss")]}, 10, 288),
        ({"callbacks": [Watch("val_accuracy")]}, 32, 100),
    ):  # fmt: skip
        with pytest.raises(Keras):
            classifier.fit(rows, validation_data=more, verbose=2, **options)
        found = given["validation_freq"]
        assert (found if isinstance(found, int) else len(found)) == freq
        assert sum(len(x["token_ids"]) for x, *_ in given["validation_data"]) == size
    assert (
        "validating 10 times, on 288 of 1,200 rows: at most a quarter of what training costs" in capsys.readouterr().out
    )


def test_a_sample_is_always_the_same_and_in_order(tiny_preset, reviews):
    classifier = build(tiny_preset)
    examples = classifier.preprocess(Split(*reviews))
    one, other = sample(examples, 20), sample(examples, 20)
    assert len(one) == 20 and one.tokens.token_ids.tolist() == other.tokens.token_ids.tolist()
    assert sample(examples, 60) is examples


def test_a_recipe_can_be_given(tiny_preset, reviews, given, capsys):
    classifier = build(tiny_preset)
    classifier.compile(learning_rate=3e-4)
    with pytest.raises(Keras):
        classifier.fit(many(reviews), epochs=choose_recipe(120, 16, 2, {}, fresh_head=True, epochs=4), verbose=0)
    assert given["epochs"] == 4 and classifier.methods == (HeadStart(),)
    assert classifier.optimizer._learning_rate.peak == 3e-4


def test_a_recipe_has_its_own_rate_and_batches(tiny_preset, reviews, given):
    classifier = build(tiny_preset)
    recipe = choose_recipe(120, 16, 2, {}, fresh_head=True, epochs=4, learning_rate=3e-4, batch_size=4)
    with pytest.raises(Keras):
        classifier.fit(many(reviews), epochs=recipe, validation_data=many(reviews), verbose=0)
    assert classifier.optimizer._learning_rate.peak == 3e-4
    assert {len(x["token_ids"]) for x, *_ in given["validation_data"]} == {4}


def test_a_recipe_that_sees_no_changed_copy_is_refused_before_anything_is_applied(tiny_preset, reviews):
    classifier = build(tiny_preset)
    recipe = choose_recipe(60, 16, 2, {}, fresh_head=True)
    with pytest.raises(TransformerError, match="augmentation cannot go with contrastive:150"):
        classifier.fit(*reviews, epochs=recipe, augmentation="swap:0.1", verbose=0)
    assert classifier.methods == ()


def test_the_recipe_says_where_what_trains_was_chosen_before(tiny_preset):
    classifier = build(tiny_preset)
    assert recipe_for(classifier, 400, fresh_head=True).strategy == "head_start"
    classifier.apply("lora:2")
    assert recipe_for(classifier, 400).strategy == "as applied"
    assert recipe_for(classifier, 400, strategy="lora:2").strategy == "lora:2"


@pytest.mark.slow
def test_a_run_that_has_collapsed_begins_again_at_a_third_of_the_rate(tiny_preset, reviews, monkeypatch, capsys):
    classifier = build(tiny_preset, dropout=0.0)
    classifier.recommended_hparams = {**classifier.recommended_hparams, "learning_rate": 20.0}
    classifier.compile(run_eagerly=False)
    rows = many(reviews)
    start = {}

    class Starts(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            start.setdefault("weights", []).append(self.model.get_weights())
            start.setdefault("rates", []).append(self.model.optimizer._learning_rate.peak)

    recipe = choose_recipe(120, 16, 2, classifier.recommended_hparams, fresh_head=True, epochs=16)
    classifier.fit(rows, epochs=recipe, callbacks=[Starts()], verbose=0)
    assert start["rates"] == pytest.approx([20.0, 20 / 3, 20 / 9])
    for again in start["weights"][1:]:
        for one, other in zip(start["weights"][0], again, strict=True):
            np.testing.assert_array_equal(one, other)
    printed = capsys.readouterr().out
    assert printed.count("starting again at a third of the learning rate") == 2
    # The last one is left alone, and told about.
    assert (
        "try a lower learning_rate" in printed or classifier.evaluate(rows, verbose=0, return_dict=True)["loss"] < 0.6
    )


def test_a_head_for_pairs_starts_from_random_numbers(tiny_preset, reviews, given, capsys):
    classifier = build(tiny_preset)
    kernel = np.array(classifier.head.logits.kernel)
    texts, labels = reviews
    with pytest.raises(Keras):
        classifier.fit([(text, "a film") for text in texts], labels, verbose=2)
    assert "60 rows, 2 labels, 16 wide: full, rate 1e-4, 63 epochs of 4 updates" in capsys.readouterr().out
    np.testing.assert_array_equal(classifier.head.logits.kernel, kernel)
