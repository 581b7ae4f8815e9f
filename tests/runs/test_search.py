"""The search: its space, its laws with trials that cost nothing, and real trials under `slow`."""

import importlib
import json
import math

import keras
import pytest

from tftransformer.data.split import Split
from tftransformer.errors import TransformerError
from tftransformer.finetuning.activation_cache import ActivationCache
from tftransformer.runs.search import SearchResult, Trial
from tftransformer.runs.search_space import SearchSpace
from tftransformer.tasks.text_classifier import TextClassifier

optuna = pytest.importorskip("optuna")
MODULE = importlib.import_module("tftransformer.runs.search")
SPACE = {
    "strategy": ["full", "freeze", "head"],
    "learning_rate": (1e-6, 1e-1),
    "epochs": (1, 4),
    "freeze_layers": (0, 2),
    "batch_size": 16,
}


class Model:
    """Stands in for a trained classifier."""

    def __init__(self, recipe):
        self.recipe = recipe

    def save_to_preset(self, folder, overwrite):
        folder.mkdir(exist_ok=overwrite)
        (folder / "recipe.json").write_text(json.dumps(self.recipe))


class Trials:
    """Trials that cost nothing: the score peaks at a rate of 1e-4, rises with the epochs, and has a best strategy."""

    def __init__(self, stop_at=None):
        self.stop_at, self.ran = stop_at, []

    def __call__(self, build, recipe, train, *, validation, seed, callbacks, activation_cache):
        if len(self.ran) == self.stop_at:
            raise KeyboardInterrupt
        self.ran.append(recipe)
        (watch,) = callbacks
        rate = math.log10(recipe["learning_rate"])
        for epoch in range(recipe["epochs"]):
            watch.on_train_batch_end(0, {})
            if rate > -2:
                raise TransformerError("the loss is not finite at step 1")
            score = 0.9 - 0.1 * abs(rate + 4) + 0.01 * epoch - 0.05 * (recipe["strategy"] == "head")
            watch.on_epoch_end(epoch, {MODULE.MONITOR: score})
        return Model(recipe), None


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setattr(MODULE, "_try_out", lambda *_: (Model, "digest"))
    # There is nothing to collect, and to find that takes a second a trial.
    monkeypatch.setattr(MODULE.gc, "collect", lambda: 0)
    rows = Split([f"text {i}" for i in range(4)], ["x", "y"] * 2)

    def search(folder="search", stop_at=None, train=rows, validation=rows, space=SPACE, say=lambda _: None, **options):
        found = Trials(stop_at)
        monkeypatch.setattr(MODULE, "train_recipe", found)
        result = MODULE.search(
            None, train, validation, space, output_dir=tmp_path / folder, say=say, **{"trials": 24, **options}
        )
        search.ran = found.ran
        return result

    return search


def without_time(result):
    return [{**trial.to_dict(), "seconds": 0} for trial in result.trials]


def test_it_finds_the_best_and_keeps_its_model(run, tmp_path):
    said = []
    result = run(say=said.append)
    assert len(result.trials) == 24 == len(said)
    assert abs(math.log10(result.recipe["learning_rate"]) + 4) < 1 and result.recipe["strategy"] != "head"
    assert json.loads((result.model_path / "recipe.json").read_text()) == result.recipe
    states = {trial.state for trial in result.trials}
    assert states == {"complete", "pruned", "diverged"}
    assert result.best.score == max(t.score for t in result.trials if t.state == "complete")
    for trial in result.trials:
        assert ("freeze_layers" in trial.recipe) == (trial.recipe["strategy"] == "freeze")
        assert trial.state != "diverged" or "not finite" in trial.note
    # Later trials know of earlier ones.
    errors = [abs(math.log10(trial.recipe["learning_rate"]) + 4) for trial in result.trials]
    assert sum(errors[12:]) < sum(errors[:12])


def test_the_table_and_the_picture_are_left_in_the_folder(run, tmp_path):
    result = run(trials=8)
    lines = str(result).splitlines()
    assert lines[0].split()[:5] == ["trial", "macro-F1", "state", "epochs", "seconds"]
    assert "strategy" in lines[0] and "learning_rate" in lines[0]
    assert len(lines) == 8 + 3 and lines[1].split()[0] == str(result.best.number)
    assert (tmp_path / "search" / "report.txt").read_text().strip() == str(result)
    assert (tmp_path / "search" / "quality.png").stat().st_size > 5000
    names = {path.name for path in (tmp_path / "search").iterdir()}
    assert names == {
        "settings.json", "report.txt", "quality.png", f"best-trial-{result.best.number}",
        *(f"trial-{i}.json" for i in range(1, 9)),
    }  # fmt: skip


@pytest.mark.by_default("hyperband")
@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(run, pruner):
    whole = run("whole", pruner=pruner, trials=14)
    with pytest.raises(KeyboardInterrupt):
        run("parts", stop_at=8, pruner=pruner, trials=14)
    said = []
    parts = run("parts", pruner=pruner, trials=11, say=said.append)
    assert len(run.ran) == 3 and "holds 8 trials" in said[0]
    assert without_time(parts) == without_time(whole)[:11]
    assert without_time(run("parts", pruner=pruner, trials=14)) == without_time(whole)
    # A folder that holds more than is asked for is not cut, and nothing runs.
    assert len(run("parts", pruner=pruner, trials=4).trials) == 14 and not run.ran


def test_trials_are_given_up_only_where_a_pruner_says_so(run):
    assert "pruned" not in {trial.state for trial in run(pruner="none").trials}
    pruned = [trial for trial in run("other", pruner="median").trials if trial.state == "pruned"]
    # What has run to its end is kept: stopping it would save nothing.
    assert pruned and all(0 < len(trial.scores) < trial.recipe["epochs"] for trial in pruned)


def test_a_trial_that_was_changed_by_hand_is_named(run, tmp_path):
    run(trials=2)
    path = tmp_path / "search" / "trial-2.json"
    path.write_text(path.read_text().replace('"epochs"', '"epoch"'))
    with pytest.raises(TransformerError, match="trial-2.json holds no trial of this space; delete it"):
        run(trials=3)
    path.unlink()
    assert len(run(trials=3).trials) == 3


def test_a_model_that_was_saved_before_its_trial_was_noted_is_not_taken_for_the_best(run, tmp_path):
    result = run(trials=6)
    last = result.trials[-1]
    folder = tmp_path / "search" / f"best-trial-{last.number}"
    # As if killed between the two writes of the sixth trial.
    (tmp_path / "search" / "trial-6.json").unlink()
    folder.mkdir(exist_ok=True)
    again = run(trials=5)
    assert again.model_path != folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(seed=1), "has seed 0, not seed 1"),
        (dict(pruner="none"), 'has pruner "median", not pruner "none"'),
        (dict(space={**SPACE, "epochs": (1, 5)}), r'has space\[.epochs.\] .*"to": 4.*not .*"to": 5'),
        (dict(train=Split(["other"], ["x"])), "has train"),
        (dict(validation=Split(["other"], ["x"])), "has validation"),
    ],
)
def test_a_search_of_other_settings_is_refused(run, tmp_path, change, words):
    run(trials=2, space={**SPACE, "learning_rate": (1e-6, 1e-3)} if "space" not in change else SPACE)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "search").iterdir()}
    given = {"space": {**SPACE, "learning_rate": (1e-6, 1e-3)}, **change}
    with pytest.raises(TransformerError, match=words) as error:
        run(trials=2, **given)
    assert "\n" not in str(error.value) and not (tmp_path / "search" / "trial-3.json").exists()
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "search").iterdir()} == before


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"learning_rate": (1e-3, 1e-5)}, r"space\['learning_rate'\] must be \(low, high\), two numbers that rise"),
        ({"learning_rate": (1e-3,)}, "two numbers that rise"),
        ({"learning_rate": (1e-3, 2.0)}, "learning_rate must be above 0 and at most 1; got 2.0"),
        ({"lerning_rate": (1e-5, 1e-3)}, "did you mean 'learning_rate'"),
        ({"epochs": []}, "must have something to choose from"),
        ({"epochs": 3}, "space must have something to search over, a range"),
        ({"strategy": ["full", "lora8"]}, "strategy must be one of.*did you mean 'lora'"),
        ({"strategy": ["full", ["head"]]}, "must list numbers or strings; got"),
        ({"strategy": ["full", "freeze:2"], "freeze_layers": (0, 2)}, "which space does not have"),
    ],
)
def test_spaces_that_are_none(space, words):
    with pytest.raises(TransformerError, match=words):
        SearchSpace(space)


def test_every_end_and_choice_of_a_space_is_checked_beforehand():
    corners = SearchSpace(SPACE).corners()
    for name, values in (("learning_rate", {1e-6, 1e-1}), ("epochs", {1, 4}), ("freeze_layers", {0, 2})):
        assert {corner[name] for corner in corners if name in corner} == values
    assert {corner["strategy"] for corner in corners} == {"full", "freeze", "head"}


def test_arguments_out_of_range(run, monkeypatch):
    with pytest.raises(TransformerError, match="trials must be a positive integer; got 0"):
        run(trials=0)
    with pytest.raises(TransformerError, match="pruner must be one of.*did you mean 'median'"):
        run(pruner="medain")
    with pytest.raises(TransformerError, match="validation must be a Split with labels"):
        run(validation=Split(["a"]))
    with pytest.raises(TransformerError, match="none of the 2 trials came to its end"):
        run(trials=2, space={**SPACE, "learning_rate": (0.5, 1.0)})
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(TransformerError, match=r'pip install "tftransformer\[search\]"'):
        run("new")


def test_strategies_that_do_not_fit_the_model_are_found_before_the_first_trial(two_block_preset, tmp_path):
    def build():
        return TextClassifier.from_preset(two_block_preset, labels=("x", "y"))

    rows = Split(["a", "b"], ["x", "y"])
    for space in ({"strategy": ["full", "freeze:3"]}, {"freeze_layers": (0, 3)}):
        with pytest.raises(TransformerError, match="layers must be between 0 and 2"):
            MODULE.search(build, rows, rows, space, output_dir=tmp_path / "search")
    with pytest.raises(TransformerError, match="unfreezes nothing in epochs=1"):
        space = {"strategy": ["full", "unfreeze"], "epochs": (1, 3)}
        MODULE.search(build, rows, rows, space, output_dir=tmp_path / "search")
    assert not (tmp_path / "search").exists()


def test_a_mistake_within_a_trial_ends_the_search_and_names_the_recipe(run, monkeypatch):
    def wrong(*_, **__):
        raise TransformerError("sequence_length must be smaller")

    class Wrong(Trials):
        __call__ = wrong

    monkeypatch.setitem(globals(), "Trials", Wrong)
    with pytest.raises(TransformerError, match=r"sequence_length must be smaller \(recipe: strategy "):
        run()


def test_a_picture_without_rates_goes_by_trials(tmp_path):
    trial = Trial(1, "complete", 0.5, {"strategy": "full"}, {}, (0.5,))
    SearchResult(tmp_path, (trial,), Model).plot(tmp_path / "quality.png")
    assert (tmp_path / "quality.png").exists() and Trial.from_dict(trial.to_dict()) == trial


@pytest.mark.slow
def test_real_trials_share_the_cache_and_the_best_model_is_as_good_as_its_score(
    reviews, two_block_preset, tmp_path, monkeypatch
):
    data = Split(*reviews)
    train, validation = data.take(range(40)), data.take(range(40, 60))

    def build():
        return TextClassifier.from_preset(two_block_preset, labels=("negative", "positive"), sequence_length=16)

    space = {"strategy": ["freeze:1", "lora:2"], "learning_rate": (1e-3, 3e-2), "epochs": (2, 3), "batch_size": 8}
    cache = ActivationCache(tmp_path / "states", say=lambda _: None)

    def search(folder):
        return MODULE.search(
            build, train, validation, space, trials=4, output_dir=tmp_path / folder, activation_cache=cache,
            say=lambda _: None,
        )  # fmt: skip

    result = search("search")
    assert "freeze:1" in {trial.recipe["strategy"] for trial in result.trials}
    assert cache.computed_rows == len(set(data.texts))
    best = result.load_best()
    metrics = best.objective.metrics_of(validation.targets, best.predict(validation, verbose=0))
    assert metrics["macro_f1"] == pytest.approx(result.best.score, abs=1e-6)
    # The same recipes train the same models again, also when the process was killed within one.
    real, trained = MODULE.train_recipe, []

    class Killed(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    def killed_in_the_third(*arguments, callbacks, **options):
        trained.append(arguments)
        more = [Killed()] if len(trained) == 3 else []
        return real(*arguments, callbacks=[*callbacks, *more], **options)

    monkeypatch.setattr(MODULE, "train_recipe", killed_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        search("killed")
    assert sorted(p.name for p in (tmp_path / "killed").glob("trial-*")) == ["trial-1.json", "trial-2.json"]
    again = search("killed")
    assert len(trained) == 5
    for one, other in zip(without_time(again), without_time(result), strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-6)
        assert one["recipe"] == other["recipe"] and one["state"] == other["state"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pairs", "several labels"])
def test_pairs_and_several_labels(reviews, two_block_preset, tmp_path, kind):
    texts, targets = reviews
    several = kind == "several labels"
    if several:
        targets = [(t,) if i % 4 else ("negative", "positive") for i, t in enumerate(targets)]
    else:
        texts = [(text, "and why") for text in texts]
    data = Split(texts, targets, multi_label=several)

    def build():
        return TextClassifier.from_preset(
            two_block_preset, labels=("negative", "positive"), sequence_length=16, multi_label=several
        )

    space = {"strategy": ["head", "lora:2"], "learning_rate": (1e-3, 3e-2), "epochs": 2}
    train, validation = data.take(range(40)), data.take(range(40, 60))
    result = MODULE.search(
        build, train, validation, space, trials=2, output_dir=tmp_path / "search", say=lambda _: None
    )
    best = result.load_best()
    metrics = best.objective.metrics_of(validation.targets, best.predict(validation, verbose=0))
    assert metrics["macro_f1"] == pytest.approx(result.best.score, abs=1e-6)
