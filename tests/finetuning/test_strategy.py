"""Strategies: how methods are spelled, which go together, and what a model makes of several."""

import keras
import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.finetuning import merge, unfreeze
from tftransformer.finetuning.adapter_config import adapter_config
from tftransformer.finetuning.freezing import frozen_addresses
from tftransformer.finetuning.methods import (
    IA3,
    METHODS,
    Adapter,
    BitFit,
    Freeze,
    GradualUnfreezing,
    LayerwiseRates,
    LoRA,
    Prefix,
)
from tftransformer.finetuning.methods.base import Method
from tftransformer.finetuning.optimizers import highest_rate
from tftransformer.finetuning.strategy import as_strategy, method_class, method_from_config, parse_strategy
from tftransformer.patterns import addresses
from tftransformer.tasks.text_classifier import TextClassifier


@pytest.fixture
def classifier(two_block_preset):
    keras.utils.set_random_seed(1)
    return TextClassifier.from_preset(two_block_preset, labels=("negative", "positive"), sequence_length=16)


@pytest.mark.parametrize("name", METHODS)
def test_every_spelling_is_read_as_it_is_written(name):
    strategy = parse_strategy(name)
    (method,) = strategy.methods
    assert type(method) is method_class(name) and method.name == name and method.about
    assert parse_strategy(str(strategy)) == strategy
    assert method_from_config(method.to_config()) == method
    assert as_strategy(method) == as_strategy([name]) == as_strategy(strategy) == strategy


@pytest.mark.parametrize(
    ("text", "written", "method"),
    [
        ("unfreeze", "unfreeze:1", GradualUnfreezing()),
        ("unfreeze:3", "unfreeze:3", GradualUnfreezing(blocks_per_stage=3)),
        ("layerwise:1", "layerwise:1.0", LayerwiseRates(1.0)),
        ("freeze", "freeze:8", Freeze(layers=8)),
        ("adapter:3", "adapter:3", Adapter(3)),
    ],
)
def test_the_number_is_the_setting_that_it_stands_for(text, written, method):
    assert str(parse_strategy(text)) == written and parse_strategy(text).methods == (method,)


def test_settings_without_a_spelling_are_written_out():
    assert str(LoRA(4, alpha=8.0)).startswith("LoRA(rank=4, alpha=8.0")
    assert str(Freeze(patterns="pooler/.*")).startswith("Freeze(layers=None, patterns=")


@pytest.mark.parametrize("text", ["layerwise:0.5+unfreeze", "layerwise:0.5"])
def test_a_task_keeps_what_compile_and_fit_read_also_where_it_is_cloned(classifier, text):
    classifier.apply(text)
    assert classifier.methods == parse_strategy(text).methods
    assert all(weight.trainable for weight in addresses(classifier).values())
    clone = TextClassifier.from_config(classifier.get_config())
    assert clone.methods == classifier.methods
    classifier.apply("full")
    assert classifier.methods == ()


@pytest.mark.parametrize("before", ["freeze:1", "head", "bitfit", "lora:2", "prefix:2", "probe"])
def test_full_trains_everything_whatever_was_frozen_before(classifier, before):
    classifier.apply(before)
    summary = classifier.apply("full")
    assert summary.trainable_parameters == summary.total_parameters and not summary.frozen_layers


def test_a_list_freezes_what_one_freezes_and_trains_what_any_trains(classifier):
    summary = classifier.apply([LoRA(2), Prefix(3), "layerwise:0.9", Freeze(layers=1)])
    assert summary.frozen_layers == ("embeddings", "encoder_block_0")
    training = {name for name, weight in addresses(classifier).items() if weight.trainable}
    assert {name.split("/", 1)[0] for name in training} == {"encoder_block_1", "head"}
    assert {name.split("/")[-1] for name in training} == {"down", "up", "keys", "values", "kernel", "bias"}
    assert [modification["kind"] for modification in adapter_config(classifier)] == ["lora", "prefix"]
    assert classifier.methods == (LayerwiseRates(0.9),)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (["full", "lora:2"], "strategy full goes with no other method; got full.lora:2"),
        ("unfreeze+unfreeze:2", "strategy must name unfreeze once; got unfreeze:1.unfreeze:2"),
        ([], "strategy must name a method"),
        (3, "methods must be a method such as .*; got 3"),
        ([LoRA(2), "dora:2"], "lora:2 and dora:2 want the same place, encoder_block_0/attention/query/delta"),
        ([Adapter(2, "a"), Adapter(2, "b")], "want the same place, adapters"),
        ([LoRA(2), Freeze(layers=9)], r"strategy lora:2\+freeze:9 cannot be applied: layers must be between 0 and 2"),
        ([LoRA(2), Prefix(3, targets="nowhere")], "targets: 'nowhere' matches none"),
        ([BitFit(), LoRA(200)], "rank must be an integer from 1 to 16; got 200"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused_and_changes_nothing(classifier, methods, message):
    before = {name: np.array(value) for name, value in addresses(classifier).items()}
    with pytest.raises(TransformerError, match=message) as caught:
        classifier.apply(methods)
    assert "\n" not in str(caught.value)
    assert list(addresses(classifier)) == list(before) and not frozen_addresses(classifier)
    assert classifier.methods == ()


def test_a_plain_model_takes_what_needs_no_compile_of_ours(small, classifier):
    IA3().apply(classifier.encoder)
    assert "encoder_block_0/attention/key/ia3/scale" in addresses(classifier.encoder)
    with pytest.raises(TransformerError, match="model must be a task, whose compile and fit read layerwise"):
        LayerwiseRates().apply(small.build_model())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unfreze", "strategy must be one of full, .*; got 'unfreze'; did you mean 'unfreeze'"),
        ("unfreeze:0", "strategy unfreeze takes a positive integer; got 'unfreeze:0'"),
        ("unfreeze:1.5", "strategy unfreeze takes a positive integer; got 'unfreeze:1.5'"),
        ("layerwise:0", "strategy layerwise takes a number above 0 and at most 1; got 'layerwise:0'"),
        ("layerwise:2", "strategy layerwise takes a number above 0 and at most 1; got 'layerwise:2'"),
        ("layerwise:nan", "strategy layerwise takes a number above 0 and at most 1; got 'layerwise:nan'"),
        ("layerwise:", "strategy layerwise takes a number above 0 and at most 1; got 'layerwise:'"),
    ],
)
def test_bad_numbers(text, message):
    with pytest.raises(TransformerError, match=message) as caught:
        parse_strategy(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda once: LoRA(2, targets=once(".*attention/query"), train=once("head/.*")),
        lambda once: IA3(outputs=once(".*attention/key"), inputs=once(".*feed_forward/output"), train=once("head/.*")),
        lambda once: Prefix(2, targets=once("encoder_block_0/attention"), train=once("head/.*")),
        lambda once: Adapter(2, train=once("head/.*")),
        lambda once: Freeze(patterns=once("embeddings/.*")),
    ],
)
def test_patterns_may_come_from_what_can_be_read_once(classifier, make):
    method = make(lambda pattern: iter([pattern]))
    classifier.apply(method)
    assert make(lambda pattern: [pattern]) == method
    weights = addresses(classifier)
    assert weights["head/logits/kernel"].trainable and not weights["embeddings/token/embeddings"].trainable


def test_a_summary_of_many_frozen_weights_fits_on_a_screen(classifier):
    summary = classifier.apply("bitfit")
    assert len(summary.frozen_weights) > 6
    line = next(line for line in str(summary).splitlines() if line.startswith("frozen weights"))
    assert line.count(",") == 5 and line.endswith(f" and {len(summary.frozen_weights) - 6} more")


@pytest.mark.parametrize("name", METHODS)
def test_compile_trains_at_the_rate_that_a_method_wants(classifier, name):
    strategy = parse_strategy("freeze:1" if name == "freeze" else name)
    classifier.recommended_hparams = {"learning_rate": 3e-5, "frozen_learning_rate": 5e-5}
    classifier.apply(strategy)
    classifier.compile()
    assert highest_rate(classifier.optimizer) == strategy.learning_rate(classifier.recommended_hparams)
    clone = TextClassifier.from_config(classifier.get_config())
    assert clone.method_rate == classifier.method_rate
    classifier.apply("full")
    classifier.compile()
    assert highest_rate(classifier.optimizer) == 3e-5


def test_the_rate_of_a_method_is_that_of_what_it_left_to_train(classifier):
    classifier.recommended_hparams = {"learning_rate": 3e-5}
    classifier.apply("lora:2")
    merge(classifier)
    classifier.compile()
    assert highest_rate(classifier.optimizer) == 1e-3  # the head alone trains on
    unfreeze(classifier)
    classifier.compile()
    assert highest_rate(classifier.optimizer) == 3e-5


@pytest.mark.parametrize("name", METHODS)
def test_a_method_names_the_hooks_that_it_has(name):
    hooks = ("optimizer_options", "stages", "before_training", "loss_step")
    kind = method_class(name)
    assert set(kind.hooks) == {hook for hook in hooks if getattr(kind, hook) is not getattr(Method, hook)}
