"""Recipes and the folders of long work: what is refused before anything is trained or written."""

import keras
import pytest

from tftransformer import files
from tftransformer.data.split import Split
from tftransformer.errors import TransformerError
from tftransformer.finetuning.methods import GradualUnfreezing, LayerwiseRates
from tftransformer.runs.recipes import check_recipe, prepare, strategy_of
from tftransformer.runs.resumable import digest_of, digest_of_model, finished_pieces, resumable_folder
from tftransformer.tasks.text_classifier import TextClassifier


@pytest.fixture
def build(two_block_preset):
    def make():
        keras.utils.set_random_seed(0)
        return TextClassifier.from_preset(two_block_preset, labels=("negative", "positive"), sequence_length=16)

    return make


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (dict(learning_rte=1e-3), "no setting 'learning_rte'.*did you mean 'learning_rate'"),
        (dict(learning_rate=0.0), "learning_rate must be above 0 and at most 1; got 0.0"),
        (dict(epochs=0), "epochs must be a positive integer; got 0"),
        (dict(batch_size=1.5), "batch_size must be a positive integer; got 1.5"),
        (dict(freeze_layers=-1), "freeze_layers must be an integer of at least 0; got -1"),
        (dict(schedule="linaer"), "schedule must be one of.*did you mean 'linear'"),
        (dict(strategy="frezee:8"), "strategy must be one of.*did you mean 'freeze'"),
        (dict(strategy=8), "strategy must be a string such as 'freeze:8'; got 8"),
        (dict(strategy="lora:8", freeze_layers=2), "freeze_layers goes with the strategy 'freeze'; got 'lora:8'"),
        (dict(strategy="freeze:1", freeze_layers=2), "freeze_layers goes with the strategy 'freeze'"),
    ],
)
def test_recipes_that_nothing_could_follow(recipe, words):
    with pytest.raises(TransformerError, match=words):
        check_recipe(recipe)


def test_freeze_layers_is_the_number_of_a_freeze():
    assert str(strategy_of({"strategy": "freeze", "freeze_layers": 1})) == "freeze:1"
    assert str(strategy_of({"freeze_layers": 1})) == "freeze:1"
    assert str(strategy_of({"freeze_layers": 0})) == "full"
    assert strategy_of({"epochs": 1}) is None


def test_a_model_is_changed_and_compiled_by_its_recipe(build):
    model, fit = prepare(build, {"strategy": "freeze:1", "learning_rate": 1e-2, "epochs": 2, "batch_size": 8})
    assert fit == {"epochs": 2, "batch_size": 8}
    assert float(model.optimizer._learning_rate.peak) == pytest.approx(1e-2)
    assert not any("encoder_block_0/" in v.path for v in model.trainable_variables)
    with pytest.raises(TransformerError, match="layers must be between 0 and 2"):
        prepare(build, {"strategy": "freeze:3"})
    with pytest.raises(TransformerError, match="build must return a task.*got Sequential"):
        prepare(keras.Sequential, {})


@pytest.mark.parametrize("text, rate", [("lora:2", 1e-3), ("freeze:1", 3e-4), ("full", 4e-5), (None, 4e-5)])
def test_a_recipe_without_a_rate_has_that_of_its_strategy(text, rate, build):
    def advised():
        model = build()
        model.recommended_hparams = {"learning_rate": 4e-5, "frozen_learning_rate": 3e-4}
        return model

    model, _ = prepare(advised, {} if text is None else {"strategy": text})
    assert float(model.optimizer._learning_rate.peak) == pytest.approx(rate)
    model, _ = prepare(advised, {"learning_rate": 0.5, **({} if text is None else {"strategy": text})})
    assert float(model.optimizer._learning_rate.peak) == pytest.approx(0.5)


def test_a_compiled_model_is_refused_rather_than_its_optimizer_dropped(build):
    def compiled():
        model = build()
        model.compile(keras.optimizers.SGD(0.5))
        return model

    with pytest.raises(TransformerError, match="build must return a task that is not compiled"):
        prepare(compiled, {"epochs": 2})


def test_what_methods_say_reaches_compile_and_fit(build):
    both = "layerwise:0.5+unfreeze"
    model, fit = prepare(build, {"strategy": both, "epochs": 3})
    assert fit == {"epochs": 3} and model.methods == (LayerwiseRates(0.5), GradualUnfreezing())
    factors = model.optimizer.get_config()["rate_multipliers"]
    assert factors["encoder_block_0/.*"] == 0.5 and factors["encoder_block_1/.*"] == 1.0
    with pytest.raises(TransformerError, match="unfreez"):
        prepare(build, {"strategy": both, "epochs": 1})


def test_digests_tell_contents_apart(build):
    assert digest_of(Split(["a"], ["x"])) != digest_of(Split(["a"], ["y"])) != digest_of(Split(["b"], ["x"]))
    one, same = build(), build()
    assert digest_of_model(one) == digest_of_model(same)
    same.head.weights[-1].assign_add([0.0, 1e-6])
    assert digest_of_model(one) != digest_of_model(same)


def test_a_folder_goes_on_with_the_same_work_alone(tmp_path):
    folder = tmp_path / "a" / "b"
    with resumable_folder(folder, "search", {"seed": 0, "space": {"epochs": (1, 2)}}) as path:
        files.write_json(path / "trial-1.json", {"score": 1.0})
        with (
            pytest.raises(TransformerError, match="in use"),
            resumable_folder(folder, "search", {"seed": 0, "space": {"epochs": [1, 2]}}),
        ):
            pass
    with resumable_folder(folder, "search", {"seed": 0, "space": {"epochs": [1, 2]}}) as path:
        assert finished_pieces(path, "trial", ("score",)) == {1: {"score": 1.0}}
        (path / "trial-first.json").write_text("no number")
        with pytest.raises(TransformerError, match="trial-1.json must hold 'state'; delete it"):
            finished_pieces(path, "trial", ("score", "state"))
        (path / "trial-2.json").write_text("{")
        with pytest.raises(TransformerError, match="trial-2.json must be JSON"):
            finished_pieces(path, "trial", ())


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("search", {"seed": 1}, "a search of the same settings; .* has seed 0, not seed 1"),
        ("search", {"seed": 0, "x": "y" * 200}, 'has no x, not x "y{118}…'),
        ("cross-validation", {"seed": 0}, "must hold a cross-validation to go on with; .* is of something else"),
    ],
)
def test_a_folder_of_other_work_is_left_alone(tmp_path, kind, settings, words):
    with resumable_folder(tmp_path / "x", "search", {"seed": 0}):
        pass
    before = {p.name: p.read_bytes() for p in (tmp_path / "x").iterdir()}
    with pytest.raises(TransformerError, match=words) as error, resumable_folder(tmp_path / "x", kind, settings):
        pass
    assert "\n" not in str(error.value)
    assert {p.name: p.read_bytes() for p in (tmp_path / "x").iterdir()} == before


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(TransformerError, match="new, empty or hold a search.*'thesis.tex'"):
        with resumable_folder(tmp_path, "search", {}):
            pass
    with pytest.raises(TransformerError, match="thesis.tex is a file"):
        with resumable_folder(tmp_path / "thesis.tex", "search", {}):
            pass
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
