"""The table of strategies: whose rate is chosen where, differences seed by seed, and the words under it."""

import pytest

from tftransformer.runs.strategy_comparison import StrategyTable


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
    assert [(row.rows, row.rate, row.score) for row in StrategyTable(cells).rows] == [
        (50, 1e-3, 0.6),
        (200, 1e-2, 0.6),
    ]


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
