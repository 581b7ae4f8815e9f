"""Runs and recipes that name no number of epochs train for at least 250 updates."""

import keras
import pytest

from tftransformer.data import Split, Splits
from tftransformer.finetuning.recipe import default_epochs
from tftransformer.finetuning.strategy import parse_strategy
from tftransformer.runs.classification import ClassificationRun
from tftransformer.runs.multi_task import MultiTaskOptions
from tftransformer.runs.options import ClassificationOptions
from tftransformer.runs.recipes import train_recipe, with_epochs
from tftransformer.runs.search import _try_out
from tftransformer.runs.search_space import SearchSpace
from tftransformer.tasks import TextClassifier


class Stopped(Exception):
    pass


@pytest.mark.parametrize(
    ("given", "epochs"),
    [
        ({}, 32),  # 120 rows by 16
        ({"gradient_accumulation": 4}, 125),
        ({"train_examples": 80}, 50),
        ({"augmentation": "swap:0.1"}, 17),
        ({"epochs": 2}, 2),
        ({"strategy": "full", "train_examples": 30}, 125),
    ],
)
def test_a_run_has_updates_enough(tiny_preset, reviews, monkeypatch, tmp_path, given, epochs):
    seen = []

    def fit(run):
        seen.append((run.recipe.epochs, run.task.optimizer._learning_rate.peak))
        raise Stopped

    monkeypatch.setattr(ClassificationRun, "fit", fit)
    split = Split(*(2 * column for column in reviews))
    options = ClassificationOptions(preset=str(tiny_preset), output_dir=str(tmp_path / "run"), **given)
    with pytest.raises(Stopped):
        ClassificationRun(options, Splits(split, split, split)).train()
    assert seen == [(epochs, 1e-4)]


def test_a_recipe_has_updates_enough(tiny_preset, reviews, monkeypatch):
    seen = []
    monkeypatch.setattr(TextClassifier, "fit", lambda self, *_, **options: seen.append(options["epochs"]))
    for recipe in ({}, {"batch_size": 8}, {"epochs": 1}, {"strategy": "unfreeze"}):
        train_recipe(
            lambda: TextClassifier.from_preset(tiny_preset, labels=["negative", "positive"]), recipe, Split(*reviews)
        )
        keras.backend.clear_session()
    assert seen == [63, 32, 1, 63]
    assert with_epochs({"epochs": 4}, {}, 60) == {"epochs": 4}


def test_trials_have_updates_enough_at_the_batch_size_that_they_chose(tiny_preset):
    space = SearchSpace({"batch_size": [8, 32], "learning_rate": 1e-3})
    _try_out(lambda: TextClassifier.from_preset(tiny_preset, labels=["negative", "positive"]), space, 0, 60)
    assert {recipe["batch_size"]: recipe["epochs"] for recipe in space.corners()} == {8: 32, 32: 125}


def test_several_tasks_have_what_is_advised():
    advice = {"learning_rate": 1e-4, "epochs": default_epochs({}, 10)}
    recipe = MultiTaskOptions().recipe(advice)
    assert (recipe["epochs"], recipe["learning_rate"]) == (25, 1e-4)


@pytest.mark.parametrize("strategy", ["full", "freeze:8", "freeze:0", "lora:8", "head", "bitfit"])
def test_several_tasks_have_the_rate_of_their_strategy(strategy):
    for advice in ({"learning_rate": 7e-5}, {"learning_rate": 7e-5, "frozen_learning_rate": 1e-4}):
        rate = MultiTaskOptions(strategy=strategy).recipe(advice)["learning_rate"]
        assert rate == parse_strategy(strategy).learning_rate(advice)
    assert MultiTaskOptions(strategy=strategy, learning_rate=0.5).recipe({})["learning_rate"] == 0.5
