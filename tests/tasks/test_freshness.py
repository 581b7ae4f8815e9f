"""The law of changed models: whatever is changed, and whenever, nobody works with the model of before.

`predict` equals the eager call; `evaluate` equals what follows from `predict`; the optimizer is one for the weights that
train, each at its rate, or `fit` asks for `compile`.
"""

import re

import keras
import numpy as np
import pytest
from sklearn.metrics import f1_score

from tftransformer.errors import TransformerError
from tftransformer.evaluation.keras_metrics import MultiLabelF1
from tftransformer.finetuning.adapter_config import inserted_patterns
from tftransformer.finetuning.freezing import freeze, train_only, unfreeze
from tftransformer.finetuning.methods import Adapter, LoRA, Prefix
from tftransformer.finetuning.methods.adapter import remove_adapter, set_adapter
from tftransformer.finetuning.methods.prefix import remove_prefix
from tftransformer.finetuning.projection_deltas import load_changes, merge, save_changes, unmerge
from tftransformer.patterns import addresses
from tftransformer.tasks.multi_task import MultiTaskClassifier
from tftransformer.tasks.text_classifier import TextClassifier

LABELS = ("negative", "positive")


def make(tiny_preset, kind=TextClassifier, **options):
    keras.utils.set_random_seed(3)
    given = {"tasks": {"mood": LABELS}} if kind is MultiTaskClassifier else {"labels": LABELS}
    return kind.from_preset(tiny_preset, sequence_length=16, **given, **options)


def shake(model):
    """Inserted weights somewhere else than where they start, or nothing would be seen of them."""
    draw = np.random.default_rng(0)
    for name, variable in addresses(model).items():
        if any(part in name for part in ("lora/", "_adapters/", "prefix/")):
            variable.assign(draw.normal(0, 0.4, variable.shape))


def lora(model):
    LoRA(rank=2).apply(model)
    shake(model)


def adapters(model):
    Adapter(adapter="one", bottleneck_dim=2).apply(model)
    Adapter(adapter="two", bottleneck_dim=3).apply(model)
    shake(model)


def merged(model):
    lora(model)
    merge(model, remove=False)


def lora_file(folder, tiny_preset):
    other = make(tiny_preset)
    lora(other)
    return save_changes(other, folder / "own.safetensors")


def nothing(model):
    pass


# name: (what the model has already, the change)
CHANGES = {
    "freeze": (nothing, lambda model, _: freeze(model, layers=1)),
    "train_only": (nothing, lambda model, _: train_only(model, "head/.*")),
    "unfreeze": (lambda model: freeze(model, layers=1), lambda model, _: unfreeze(model)),
    "by_hand": (nothing, lambda model, _: setattr(model.encoder, "trainable", False)),
    "enable_lora": (nothing, lambda model, _: lora(model)),
    "encoder_lora": (nothing, lambda model, _: lora(model.encoder)),
    "load_lora": (nothing, lambda model, file: load_changes(model, file)),
    "merge_lora": (lora, lambda model, _: merge(model)),
    "merge_and_keep": (lora, lambda model, _: merge(model, remove=False)),
    "unmerge_lora": (merged, lambda model, _: unmerge(model)),
    "scale": (lora, lambda model, _: rescale(model)),
    "add_adapter": (nothing, lambda model, _: (Adapter(adapter="one", bottleneck_dim=2).apply(model), shake(model))),
    "set_adapter": (adapters, lambda model, _: set_adapter(model, "one")),
    "no_adapter": (adapters, lambda model, _: set_adapter(model, None)),
    "remove_adapter": (adapters, lambda model, _: remove_adapter(model, "two")),
    "add_prefix": (nothing, lambda model, _: (Prefix(length=2).apply(model), shake(model))),
    "remove_prefix": (
        lambda model: (Prefix(length=2).apply(model), shake(model)),
        lambda model, _: remove_prefix(model),
    ),
}


def rescale(model):
    for index in range(model.config.num_layers):
        block = model.encoder.get_layer(f"encoder_block_{index}")
        block.attention.query_projection.delta.alpha = 11.0


def compiled(model, data, **options):
    model.compile(learning_rate=1e-2, schedule="constant", **options)


def predicted(model, data):
    model.predict(data[0], verbose=0)
    compiled(model, data)
    model.predict(data[0], verbose=0)
    model.evaluate(*data, verbose=0)


def trained(model, data, **options):
    compiled(model, data, **options)
    model.fit(*data, validation_data=data, batch_size=8, verbose=0, activation_cache="off", epochs=1)
    model.predict(data[0], verbose=0)


def saved(model, data):
    # Graphs do not go into a file: there need not be one.
    trained(model, data, run_eagerly=True)


MOMENTS = {"new": nothing, "compiled": compiled, "predicted": predicted, "trained": trained, "loaded": saved}
SOME = [("load_lora", "predicted"), ("by_hand", "compiled")]


def changed(change, moment, tiny_preset, data, folder):
    """A model to which something happened, and then the change."""
    file = lora_file(folder, tiny_preset) if change == "load_lora" else None
    before, act = CHANGES[change]
    model = make(tiny_preset)
    before(model)
    if moment != "new":
        MOMENTS[moment](model, data)
    model.compiled_for = model.newly_initialized
    if moment == "loaded":
        compiled_for = model.newly_initialized
        model.save(folder / "model.keras")
        model = keras.models.load_model(folder / "model.keras")
        model.run_eagerly = False
        model.predict(data[0], verbose=0)
        model.compiled_for = compiled_for
    act(model, file)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("change", CHANGES)
def test_nobody_works_with_the_model_of_before(change, moment, tiny_preset, reviews, tmp_path):
    data = reviews[0][:16], reviews[1][:16]
    model = changed(change, moment, tiny_preset, data, tmp_path)
    agrees_with_itself(model, data)
    # Before the first training there is no graph of it that could be out of date.
    model.run_eagerly = moment != "trained"
    trains_as_it_is(model, data)
    model.run_eagerly = False
    agrees_with_itself(model, data)


# The same in less time: the graphs of predict and evaluate, and a training without one.
@pytest.mark.by_default("by_hand-compiled")
@pytest.mark.parametrize(("change", "moment"), SOME)
def test_nobody_works_with_the_model_of_before_in_short(change, moment, tiny_preset, reviews, tmp_path):
    data = reviews[0][:16], reviews[1][:16]
    model = changed(change, moment, tiny_preset, data, tmp_path)
    agrees_with_itself(model, data)
    model.run_eagerly = True
    trains_as_it_is(model, data)


def agrees_with_itself(model, data):
    texts, labels = data
    examples = model.preprocess(texts)
    batch = examples.features(np.arange(len(texts)), int(examples.lengths.max()))
    eager = keras.ops.convert_to_numpy(keras.ops.softmax(model(batch, training=False)))
    predicted = model.predict(texts, verbose=0)
    np.testing.assert_allclose(predicted, eager, atol=1e-6)
    if not model.compiled:
        return
    # Penalties are not among the defaults: the loss is the cross-entropy of what `predict` says.
    ids = np.array([LABELS.index(label) for label in labels])
    logs = model.evaluate(texts, labels, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["loss"], -np.log(predicted[np.arange(len(ids)), ids]).mean(), rtol=1e-4)
    assert logs["accuracy"] == pytest.approx((predicted.argmax(-1) == ids).mean())


def trains_as_it_is(model, data):
    trains = {name for name, variable in addresses(model).items() if variable.trainable}
    before = {name: variable.numpy().copy() for name, variable in addresses(model).items()}
    optimizer = getattr(model, "optimizer", None)
    options = {"epochs": 1, "batch_size": 8, "verbose": 0, "activation_cache": "off", "validation_data": data}
    try:
        history = model.fit(*data, **options).history
    except TransformerError as error:
        assert str(error).startswith("compile() must be called again before fit()")
        model.compile(learning_rate=1e-2, schedule="constant", run_eagerly=model.run_eagerly)
        history = model.fit(*data, **options).history
    for name, variable in addresses(model).items():
        moved = not np.array_equal(variable.numpy(), before[name])
        assert name in trains or not moved, name
    assert any(not np.array_equal(addresses(model)[name].numpy(), before[name]) for name in trains)
    # What `fit` says of validation is of the model that trained.
    logs = model.evaluate(*data, verbose=0, return_dict=True)
    np.testing.assert_allclose(history["val_loss"][-1], logs["loss"], rtol=1e-5)
    held = {id(variable) for variable in model.optimizer._trainable_variables}
    assert held == {id(variable) for variable in model.trainable_variables}
    # An optimizer that goes on is the one of before: what is read from a file is fresh no more.
    patterns = (
        *(model.compiled_for if model.optimizer is optimizer else model.newly_initialized),
        *inserted_patterns(),
    )
    fresh = {name for name in trains if any(re.fullmatch(p, name) for p in patterns)}
    assert set(model.optimizer.get_config()["rate_multipliers"]) == fresh


# Arguments of compile: kept, or asked for; never replaced.


def test_a_users_optimizer_and_metrics_are_kept(tiny_preset, reviews):
    model = make(tiny_preset)
    optimizer = keras.optimizers.SGD(0.123)
    model.compile(optimizer, metrics=[keras.metrics.SparseCategoricalAccuracy(name="mine")], run_eagerly=True)
    LoRA(rank=2).apply(model)
    history = model.fit(*reviews, verbose=0, activation_cache="off", epochs=1).history
    assert model.optimizer is optimizer and float(optimizer.learning_rate) == pytest.approx(0.123)
    assert set(history) == {"loss", "mine"}
    freeze(model, patterns="head/.*")
    with pytest.raises(TransformerError, match=r"compile\(\) must be called again before fit\(\)"):
        model.fit(*reviews, verbose=0, epochs=1)
    assert model.optimizer is optimizer
    assert set(model.evaluate(*reviews, verbose=0, return_dict=True)) == {"loss", "mine"}


def test_frozen_after_compile_the_recipe_is_that_of_the_arguments(two_block_preset, reviews):
    model = make(two_block_preset)
    model.apply("layerwise:0.5")
    model.compile(learning_rate=3e-3, schedule="constant", run_eagerly=True)
    freeze(model, layers=1)
    model.fit(*reviews, verbose=0, activation_cache="off", epochs=1)
    config = model.optimizer.get_config()
    assert config["learning_rate"] == pytest.approx(3e-3)
    assert not any("encoder_block_0" in pattern or "embeddings" in pattern for pattern in config["rate_multipliers"])
    freeze(model, layers=2)
    with pytest.raises(TransformerError, match=r"compile\(\) must be called again before fit\(\)"):
        model.fit(*reviews, verbose=0, epochs=1)
    with pytest.raises(TransformerError, match=r"compile\(\) must be called again before fit\(\)"):
        model.train_on_batch(*next(iter(model.training_batches(model.preprocess(*reviews), 8, False, None))))


def test_several_tasks_are_compiled_again_with_their_arguments(tiny_preset, reviews):
    model = make(tiny_preset, MultiTaskClassifier)
    model.compile(learning_rate=1e-2, loss_weights={"mood": 2.0}, run_eagerly=True)
    model.predict(reviews[0][:4], task="mood", verbose=0)
    LoRA(rank=2).apply(model)
    model.fit({"mood": reviews}, batch_size=32, verbose=0, epochs=1)
    assert model._objectives["loss_weights"] == {"mood": 2.0}
    assert any("lora" in pattern for pattern in model.optimizer.get_config()["rate_multipliers"])
    freeze(model, patterns="head/.*")
    with pytest.raises(TransformerError, match=r"compile\(\) must be called again before fit\(\)"):
        model.fit({"mood": reviews}, verbose=0, epochs=1)


def test_a_rate_sweep_is_of_the_model_as_it_is(tiny_preset, reviews):
    from tftransformer.runs.lr_finder import find_learning_rate

    model = make(tiny_preset)
    model.compile(run_eagerly=True)
    LoRA(rank=2).apply(model)
    assert len(find_learning_rate(model, *reviews, batch_size=16, steps=10).losses) > 2
    model.fit(*reviews, verbose=0, activation_cache="off", epochs=1)
    assert any("lora" in pattern for pattern in model.optimizer.get_config()["rate_multipliers"])


# The threshold of several labels a text is the task's, also in metrics that were traced with another one.


def test_a_tuned_threshold_reaches_the_metrics_of_evaluate(tiny_preset, reviews, tmp_path):
    model = make(tiny_preset, multi_label=True)
    texts, targets = reviews[0][:20], [(label,) for label in reviews[1][:20]]
    model.compile(metrics=["accuracy", MultiLabelF1(2, "micro", threshold=None, from_logits=True)])
    truth = model.objective.encode(targets).values

    def agrees():
        logs = model.evaluate(texts, targets, verbose=0, return_dict=True)
        chosen = model.predict(texts, verbose=0) >= model.threshold
        assert logs["micro_f1"] == pytest.approx(f1_score(truth, chosen, average="micro", zero_division=0), abs=1e-6)
        assert logs["accuracy"] == pytest.approx((chosen == truth).mean(), abs=1e-6)
        return logs["micro_f1"]

    before = agrees()
    model.threshold = 0.01
    assert agrees() != before
    model.save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    agrees()
    model.threshold = 0.99
    agrees()


# A file that does not fit changes nothing.


def test_lora_of_another_width_leaves_the_model_as_it_was(tiny_preset, tmp_path):
    from safetensors.numpy import load_file, save_file

    file = lora_file(tmp_path, tiny_preset)
    weights = load_file(file)
    name = next(name for name in weights if name.endswith("lora/up"))
    about = {
        "format": "2",
        "changes": '[{"kind": "lora", "rank": 2, "alpha": 2.0, "dropout": 0.0, "merged": false, "targets": ["%s"]}]',
    }
    target = name.removesuffix("/lora/up")
    wrong = {
        "wider": {name: np.zeros((2, 24), "float32"), f"{target}/lora/down": weights[f"{target}/lora/down"]},
        "missing": {name: weights[name]},
        "rank": {name: np.zeros((3, 16), "float32"), f"{target}/lora/down": np.zeros((16, 3), "float32")},
    }  # fmt: skip
    for kind, held in wrong.items():
        path = tmp_path / f"{kind}.safetensors"
        save_file(held, path, metadata={**about, "changes": about["changes"] % target})
        model = make(tiny_preset)
        before = set(addresses(model))
        with pytest.raises(TransformerError, match=r"must fit the model; .* in the model$"):
            load_changes(model, path)
        assert set(addresses(model)) == before
