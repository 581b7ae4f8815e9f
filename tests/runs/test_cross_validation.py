"""Cross-validation: figures of rows that were held out, one file a fold, and going on where it stopped."""

import importlib
import json
import statistics

import keras
import pytest

from tftransformer.data.split import Split
from tftransformer.errors import TransformerError
from tftransformer.finetuning.activation_cache import ActivationCache
from tftransformer.runs.cross_validation import CrossValidation, cross_validate, stratified_folds
from tftransformer.tasks.text_classifier import TextClassifier

MODULE = importlib.import_module("tftransformer.runs.cross_validation")


@pytest.fixture
def data(reviews):
    # Some reviews are equal by chance.
    return Split(*zip(*dict(zip(*reviews)).items(), strict=True)).take(range(48))


@pytest.fixture
def build(two_block_preset):
    def make():
        return TextClassifier.from_preset(two_block_preset, labels=("negative", "positive"), sequence_length=16)

    return make


def silent(_):
    pass


def test_the_rows_of_a_fold_are_seen_by_nobody_before_it_is_measured(data, build, monkeypatch, tmp_path):
    seen = []

    class Model:
        """Stands in for a classifier; what it predicts are the texts."""

        def predict(self, split, verbose):
            return split.texts

        objective = property(lambda self: self)

        def metrics_of(self, targets, predicted):
            assert targets == [dict(zip(data.texts, data.targets))[text] for text in predicted]
            return {"accuracy": len(seen) / 4, "macro_f1": 0.5, "loss": 1.0 / len(seen), "labels": {}}

    def noted(build, recipe, train, **options):
        seen.append((set(train.texts), options.get("validation")))
        return Model(), None

    monkeypatch.setattr(MODULE, "train_recipe", noted)
    result = cross_validate(build, data, folds=2, output_dir=tmp_path / "cv", say=silent)
    held_out = stratified_folds(data, 2, 0)
    for (trained, validation), rows, fold in zip(seen, held_out, result.folds, strict=True):
        assert trained == set(data.texts) - {data.texts[i] for i in rows} and validation is None
        assert fold["rows"] == len(rows) and 0 <= fold["macro_f1"] <= 1
    assert result.mean["accuracy"] == pytest.approx(statistics.mean(f["accuracy"] for f in result.folds))
    assert result.deviation["loss"] == pytest.approx(statistics.stdev(f["loss"] for f in result.folds))
    written = json.loads((tmp_path / "cv" / "metrics.json").read_text())
    assert written["mean"] == result.mean and len(written["folds"]) == 2
    assert (tmp_path / "cv" / "report.txt").read_text().strip() == str(result)
    assert str(result).splitlines()[2].split() == ["fold", "rows", *result.figures]


def fake_folds(monkeypatch, stop_at=None):
    """Folds that cost nothing, of which one may break off; the numbers of those that ran."""
    ran = []

    def run(build, recipe, data, held_out, seed, cache):
        if len(ran) + 1 == stop_at:
            raise KeyboardInterrupt
        ran.append(held_out.tolist())
        return {"accuracy": held_out[0] / 100, "macro_f1": held_out[-1] / 100, "rows": len(held_out), "seconds": 0.5}

    monkeypatch.setattr(MODULE, "_run_fold", run)
    return ran


def test_an_interrupted_one_goes_on_and_ends_as_if_it_had_not_been(data, build, monkeypatch, tmp_path):
    recipe = dict(strategy="freeze:1", learning_rate=1e-3)
    fake_folds(monkeypatch)
    whole = cross_validate(build, data, 3, output_dir=tmp_path / "whole", say=silent, **recipe)
    first = fake_folds(monkeypatch, stop_at=3)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(build, data, 3, output_dir=tmp_path / "cv", say=silent, **recipe)
    said, rest = [], fake_folds(monkeypatch)
    result = cross_validate(build, data, 3, output_dir=tmp_path / "cv", say=said.append, **recipe)
    assert (len(first), len(rest)) == (2, 1) and "holds 2 of 3 folds" in said[0]
    assert result.to_dict() == whole.to_dict()
    again = fake_folds(monkeypatch)
    assert cross_validate(build, data, 3, output_dir=tmp_path / "cv", say=silent, **recipe) == result
    assert not again


def test_a_folder_of_other_settings_is_refused(data, build, monkeypatch, tmp_path):
    fake_folds(monkeypatch)
    given = dict(data=data, folds=3, output_dir=tmp_path / "cv", say=silent)
    cross_validate(build, **given)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cv").iterdir()}
    for change, words in (
        (dict(seed=1), "has seed 0, not seed 1"),
        (dict(folds=4), "has folds 3, not folds 4"),
        (dict(epochs=2), "has epochs 125, not epochs 2"),
        (dict(groups=list(range(48))), "has groups null"),
        (dict(data=data.take(range(40))), "has data"),
    ):
        with pytest.raises(TransformerError, match=words) as error:
            cross_validate(build, **{**given, **change})
        assert "\n" not in str(error.value)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cv").iterdir()} == before


def test_mistakes_write_nothing(data, build, tmp_path):
    for recipe, words in (
        (dict(strategy="freeze:3"), "layers must be between 0 and 2"),
        (dict(epoch=3), "did you mean 'epochs'"),
        (dict(folds=1), "folds must be an integer of at least 2"),
    ):
        with pytest.raises(TransformerError, match=words):
            cross_validate(build, data, output_dir=tmp_path / "cv", **recipe)
    assert not (tmp_path / "cv").exists()


def test_a_figure_that_one_fold_lacks_is_left_out():
    folds = ({"macro_f1": 0.5, "auc": 0.7, "rows": 3}, {"macro_f1": 0.7, "rows": 3})
    assert CrossValidation({}, folds).figures == ("macro_f1",)
    assert "recipe: the defaults" in str(CrossValidation({}, folds))


@pytest.mark.slow
def test_the_frozen_part_runs_once_for_all_folds_and_changes_nothing(data, build, monkeypatch, tmp_path):
    cache = ActivationCache(tmp_path / "states", say=silent)
    recipe = dict(strategy="freeze:1", learning_rate=1e-2, epochs=4, batch_size=16)
    train, trained = MODULE.train_recipe, []

    class Killed(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    def killed_in_the_second(*arguments, **options):
        trained.append(arguments)
        return train(*arguments, **options, callbacks=[Killed()] if len(trained) == 2 else [])

    monkeypatch.setattr(MODULE, "train_recipe", killed_in_the_second)
    given = dict(activation_cache=cache, output_dir=tmp_path / "cv", say=silent, **recipe)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(build, data, 3, **given)
    cached = cross_validate(build, data, 3, **given)
    assert len(trained) == 4 and cache.computed_rows == len(data)
    plain = cross_validate(build, data, 3, activation_cache="off", say=silent, **recipe)
    for one, other in zip(cached.folds, plain.folds):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pairs", "several labels"])
def test_pairs_and_several_labels(data, build, two_block_preset, kind):
    texts, targets = data.texts, data.targets
    several = kind == "several labels"
    if several:
        targets = [(t,) if i % 4 else ("negative", "positive") for i, t in enumerate(targets)]
    else:
        texts = [(text, "and why") for text in texts]
    split = Split(texts, targets, multi_label=several)

    def make():
        return TextClassifier.from_preset(
            two_block_preset, labels=split.labels, sequence_length=16, multi_label=several
        )

    keras.utils.set_random_seed(0)
    result = cross_validate(make, split, 2, strategy="lora:2", learning_rate=1e-2, epochs=2, say=silent)
    assert "macro_f1" in result.figures and ("micro_f1" in result.figures) == several
