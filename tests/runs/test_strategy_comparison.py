"""Comparing strategies: the same rows for all, one file a run, growing and going on, and what is refused."""

import importlib
import json

import pytest

from tftransformer.data.split import Split
from tftransformer.data.splitting import subset
from tftransformer.errors import TransformerError
from tftransformer.finetuning.strategy import parse_strategy
from tftransformer.runs.flags import read_numbers
from tftransformer.runs.strategy_comparison import StrategyTable, compare_strategies, default_strategies
from tftransformer.tasks.text_classifier import TextClassifier

MODULE = importlib.import_module("tftransformer.runs.strategy_comparison")


@pytest.fixture
def data(reviews):
    split = Split(*reviews)
    return split.take(range(40)), split.take(range(40, 60))


@pytest.fixture
def build(tiny_preset):
    return lambda: TextClassifier.from_preset(tiny_preset, labels=("negative", "positive"), sequence_length=16)


@pytest.fixture
def fake_runs(monkeypatch):
    """Every run is noted, none is trained."""
    calls = []

    def run(build, recipe, train, test, validation, seed, cache):
        calls.append((recipe, train, validation, seed))
        score = {"accuracy": 0.5, "macro_f1": 0.5}
        scored = {"test": score} if validation is None else {"test": score, "validation": score}
        return {"epochs": recipe["epochs"], "seconds": 1.0, "trained_parameters": 1, "parameters": 2, **scored}

    monkeypatch.setattr(MODULE, "_run", run)
    return calls


def test_all_strategies_see_the_same_rows_and_as_many_updates(data, build, fake_runs):
    train, test = data
    compare_strategies(
        build, train, test, strategies=["full", "head"], train_examples=[8, 20], seeds=2, updates=6, batch_size=4
    )
    assert len(fake_runs) == 8
    for recipe, rows, _, seed in fake_runs:
        assert rows.texts == subset(train, len(rows), seed).texts
        assert recipe["epochs"] == {8: 3, 20: 2}[len(rows)]
    advice = build().recommended_hparams
    assert {recipe["strategy"]: recipe["learning_rate"] for recipe, *_ in fake_runs} == {
        "full": parse_strategy("full").learning_rate(advice),
        "head": parse_strategy("head").learning_rate(advice),
    }


def test_a_table_goes_on_grows_and_is_not_mixed_up_with_another(data, build, fake_runs, tmp_path):
    train, test = data
    lines = []

    def compare(**options):
        settings = {
            "strategies": ["full", "head"],
            "train_examples": [8],
            "seeds": 2,
            "updates": 2,
            "say": lines.append,
        }
        return compare_strategies(build, train, test, **{"output_dir": tmp_path / "table", **settings, **options})

    compare()
    assert len(fake_runs) == 4
    (tmp_path / "table" / "head_8-rows_rate-0.001_seed-1.json").unlink()
    compare()
    assert len(fake_runs) == 5 and any("holds 3 of 4 runs" in line for line in lines)
    table = compare(strategies=["full", "head", "lora:4"], seeds=3)
    assert len(fake_runs) == 10 and len(table.cells) == 9
    assert {path.name for path in (tmp_path / "table").iterdir()} >= {"report.txt", "table.json", "comparison.png"}
    kept = (tmp_path / "table" / "report.txt").read_bytes()
    with pytest.raises(
        TransformerError, match="table of strategies of the same settings; .* has updates 2, not updates 3"
    ):
        compare(updates=3)
    damaged = tmp_path / "table" / "full_8-rows_rate-0.0001_seed-0.json"
    damaged.write_text(json.dumps({"strategy": "full"}))
    with pytest.raises(TransformerError, match="must hold 'rate'; delete it to have that run again"):
        compare()
    assert (tmp_path / "table" / "report.txt").read_bytes() == kept
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(TransformerError, match="must be new, empty or hold a table of strategies"):
        compare(output_dir=tmp_path / "other")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["notes.txt"]


def test_rates_are_tried_for_every_strategy(data, build, fake_runs):
    train, test = data
    compare_strategies(
        build,
        train,
        test,
        validation=test,
        strategies=["full"],
        train_examples=[8],
        seeds=1,
        learning_rates=[1e-4, 1e-3],
    )
    assert [recipe["learning_rate"] for recipe, *_ in fake_runs] == [1e-4, 1e-3]
    assert all(validation is test for *_, validation, _ in fake_runs)


def test_a_table_without_a_choice_of_rates_may_get_one(data, build, fake_runs, tmp_path):
    train, test = data
    settings = {
        "validation": test,
        "strategies": ["head"],
        "train_examples": [8],
        "seeds": 1,
        "output_dir": tmp_path / "t",
    }
    compare_strategies(build, train, test, **settings)
    table = compare_strategies(build, train, test, learning_rates=[1e-3, 1e-2], **settings)
    # The run at 1e-3 was not measured on validation rows, and is run again.
    assert len(fake_runs) == 3 and len(table.cells) == 2


@pytest.mark.parametrize(
    "options, message",
    [
        ({"strategies": ["full", "lara:8"]}, "did you mean .*lora"),
        ({"strategies": ["full", "full"]}, "strategies must be different ones; got full, full"),
        ({"strategies": []}, "strategies must be different ones; got none"),
        ({"strategies": ["freeze:3"]}, "3"),
        ({"train_examples": [41]}, "at most 40, the number of training rows; got 41"),
        ({"train_examples": [1, 20]}, "train_examples must be at least 2; got 1, 20"),
        ({"train_examples": []}, "train_examples must be at least 2; got none"),
        ({"seeds": 0}, "seeds must be at least 1; got 0"),
        ({"updates": 0}, "updates must be at least 1; got 0"),
        # At 8 rows there are two epochs, at 40 one, which would stop in the middle of the table.
        ({"strategies": ["unfreeze"], "train_examples": [8, 40], "updates": 2}, "updates=2 on 40 rows are too few: unfr"),
        ({"learning_rates": [2.0]}, "above 0 and at most 1; got 2.0"),
        ({"learning_rates": [1e-3]}, "need validation rows"),
        ({"test": Split([], [])}, "a comparison needs test rows"),
    ],
)  # fmt: skip
def test_mistakes_are_named_before_anything_trains(options, message, data, build, fake_runs, tmp_path):
    train, test = data
    settings = {
        "strategies": ["full"],
        "train_examples": [8],
        "output_dir": tmp_path / "table",
        "test": test,
        **options,
    }
    with pytest.raises(TransformerError, match=message):
        compare_strategies(build, train, settings.pop("test"), **settings)
    assert not fake_runs and not (tmp_path / "table").exists()


def test_numbers_of_a_flag():
    assert read_numbers("learning_rates", ["1e-4", "3"], float) == (1e-4, 3.0)
    with pytest.raises(
        TransformerError, match="train_examples must be whole numbers with commas between; got '50,many'"
    ):
        read_numbers("train_examples", ["50", "many"], int)


def test_the_default_strategies_fit_any_depth():
    for layers in (1, 2, 6, 12):
        assert [str(parse_strategy(text)) for text in default_strategies(layers)][0] == "full"
    assert "freeze:4" in default_strategies(6)


@pytest.mark.slow
def test_a_run_is_what_training_by_hand_gives(data, build):
    import keras

    train, test = data
    table = compare_strategies(
        build, train, test, strategies=["full", "lora:2"], train_examples=[32], seeds=1, updates=20, learning_rates=[1e-2],
        validation=test,
    )  # fmt: skip
    for cell in table.cells:
        keras.utils.set_random_seed(0)
        classifier = build()
        parse_strategy(cell["strategy"]).apply(classifier)
        classifier.compile(learning_rate=1e-2)
        classifier.fit(subset(train, 32, 0), epochs=10, batch_size=16, verbose=0)
        metrics = classifier.objective.metrics_of(test.targets, classifier.predict(test, verbose=0))
        assert cell["test"]["macro_f1"] == pytest.approx(metrics["macro_f1"])
        assert cell["test"]["loss"] == pytest.approx(metrics["loss"], rel=1e-4)
    full, lora = table.rows
    assert full.trained == full.parameters > lora.trained


def cell(strategy, rows, seed, accuracy, rate=1e-3, validation=None, seconds=10.0, trained=100):
    result = {
        "strategy": strategy, "rows": rows, "seed": seed, "rate": rate, "seconds": seconds,
        "test": {"accuracy": accuracy, "macro_f1": accuracy - 0.1}, "trained_parameters": trained, "parameters": 1000,
    }  # fmt: skip
    return result if validation is None else {**result, "validation": {"accuracy": validation}}


def test_means_deviations_and_differences_are_of_the_same_seeds():
    full = [cell("full", 50, seed, score, trained=1000) for seed, score in enumerate((0.5, 0.7, 0.6))]
    head = [cell("head", 50, seed, score, seconds=5.0) for seed, score in enumerate((0.6, 0.8, 0.7))]
    rows = StrategyTable([*full, *head]).rows
    assert [row.strategy for row in rows] == ["full", "head"]
    assert rows[0].score == pytest.approx(0.6) and rows[0].deviation == pytest.approx(0.1)
    assert rows[0].difference is None and not rows[0].beyond_chance
    # Every seed gains the same, however much seeds differ among themselves.
    assert rows[1].difference == pytest.approx(0.1) and rows[1].spread == pytest.approx(0.0, abs=1e-12)
    assert rows[1].beyond_chance


@pytest.mark.parametrize("scores, beyond", [((0.9, 0.6), False), ((0.9, 0.7), False), ((0.9, 0.89), True)])
def test_a_difference_that_seeds_explain_is_chance(scores, beyond):
    cells = [cell("full", 50, seed, 0.5) for seed in range(2)]
    cells += [cell("head", 50, seed, score) for seed, score in enumerate(scores)]
    table = StrategyTable(cells)
    assert table.rows[1].beyond_chance is beyond
    # Student's t with one degree of freedom: 12.7 standard errors.
    assert table.rows[1].margin == pytest.approx(12.706 * abs(scores[0] - scores[1]) / 2, rel=1e-3)
    assert ("better than full beyond what seeds explain (95 %): head" in str(table)) is beyond


def test_the_rate_is_chosen_on_validation_rows_for_each_size():
    cells = []
    for rows, better in ((50, 1e-3), (200, 1e-2)):
        for rate in (1e-3, 1e-2):
            # On the test rows the other rate looks better: it must not be what decides.
            test = 0.6 if rate == better else 0.9
            cells.append(cell("lora:8", rows, 0, test, rate, validation=0.8 if rate == better else 0.7))
    assert [(row.rows, row.rate, row.score) for row in StrategyTable(cells).rows] == [(50, 1e-3, 0.6), (200, 1e-2, 0.6)]


def test_the_text_says_all_of_it():
    cells = [cell("full", rows, seed, 0.5 + seed / 10, trained=1000) for rows in (50, 200) for seed in (0, 1)]
    cells += [cell("head", rows, seed, 0.4 + seed / 10, trained=2) for rows in (50, 200) for seed in (0, 1)]
    text = str(StrategyTable(cells))
    first, second = text.split("\n\n")
    assert first.startswith("50 training rows, 2 seeds") and second.startswith("200 training rows, 2 seeds")
    for part in ("against full", "0.550 ± 0.071", "-0.100 ± 0.000", "1,000 (100%)", "2 (0.2%)", "best: full"):
        assert part in first
    assert "worse than full beyond what seeds explain (95 %): head" in first
    assert "one seed tells nothing" in str(StrategyTable(cells[:1]))
    few = {**cells[0], "trained_parameters": 770, "parameters": 22_566_146}
    assert "770 (0.0034%)" in str(StrategyTable([few]))


def test_multi_label_data_are_compared_by_micro_f1():
    cells = [cell("full", 50, 0, 0.5)]
    cells[0]["test"] = {"micro_f1": 0.7, "macro_f1": 0.6}
    table = StrategyTable(cells)
    assert table.figure == "micro_f1" and table.rows[0].score == 0.7
    assert table.to_dict()["rows"][0]["score"] == 0.7
