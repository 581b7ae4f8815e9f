"""Runs and recipes that name no number of epochs train for at least 250 updates."""

import keras
import pytest

from tftransformer.data import Split, Splits
from tftransformer.experiments import classification
from tftransformer.experiments.multi_task import MultiTaskOptions
from tftransformer.experiments.options import ClassificationOptions
from tftransformer.experiments.recipes import train_recipe, with_epochs
from tftransformer.finetuning.defaults import default_epochs
from tftransformer.tasks import TextClassifier


class Stopped(Exception):
    pass


@pytest.mark.parametrize(
    ("given", "epochs"),
    [
        ({}, 63),  # 60 rows by 16
        ({"gradient_accumulation": 4}, 250),
        ({"train_examples": 30}, 125),
        ({"augmentation": "swap:0.1"}, 32),
        ({"epochs": 2}, 2),
    ],
)
def test_a_run_has_updates_enough(tiny_preset, reviews, monkeypatch, tmp_path, given, epochs):
    seen = []

    def fit(classifier, splits, options, epochs, *rest):
        seen.append((epochs, classifier.optimizer._learning_rate.peak))
        raise Stopped

    monkeypatch.setattr(classification, "_fit", fit)
    split = Split(*reviews)
    options = ClassificationOptions(preset=str(tiny_preset), output_dir=str(tmp_path / "run"), **given)
    with pytest.raises(Stopped):
        classification.train_on(options, Splits(split, split, split))
    assert seen == [(epochs, 1e-4)]


def test_a_recipe_has_updates_enough(tiny_preset, reviews, monkeypatch):
    seen = []
    monkeypatch.setattr(TextClassifier, "fit", lambda self, *_, **options: seen.append(options["epochs"]))
    for recipe in ({}, {"batch_size": 8}, {"epochs": 1}, {"strategy": "unfreeze"}):
        train_recipe(
            lambda: TextClassifier.from_preset(tiny_preset, labels=["negative", "positive"]),
            recipe,
            Split(*reviews),
        )
        keras.backend.clear_session()
    assert seen == [125, 32, 1, 125]
    assert with_epochs({"epochs": 4}, {}, 60) == {"epochs": 4}


def test_several_tasks_have_what_is_advised():
    advice = {"learning_rate": 1e-4, "epochs": default_epochs({}, 10)}
    recipe = MultiTaskOptions().recipe(advice)
    assert (recipe["epochs"], recipe["learning_rate"]) == (25, 1e-4)
