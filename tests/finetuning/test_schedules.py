"""Schedules: their laws over all names, and their errors."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tftransformer.errors import TransformerError
from tftransformer.finetuning import build_schedule
from tftransformer.finetuning.schedules import SCHEDULES, SlantedTriangularSchedule, WarmedLinearSchedule

DECAYING = [name for name in SCHEDULES if name != "constant"]
ENDS = {"exponential": 0.01, "slanted_triangular": 1 / 32}


def rates(schedule, steps):
    return keras.ops.convert_to_numpy(schedule(np.arange(steps)))


@pytest.mark.parametrize("name", DECAYING)
@settings(max_examples=15, deadline=None)
@given(total=st.integers(2, 400), warmup=st.one_of(st.integers(0, 50), st.floats(0.0, 0.9)))
def test_rises_to_the_peak_and_falls_from_it(name, total, warmup):
    if isinstance(warmup, int):
        warmup = min(warmup, total - 1)
    values = rates(build_schedule(name, 2.0, total, warmup), total + 5)
    top = warmup if isinstance(warmup, int) else int(np.floor(np.float32(total) * np.float32(warmup)))
    assert values[top] == pytest.approx(2.0, rel=1e-5)
    assert np.all(np.diff(values[: top + 1]) > 0)
    assert np.all(np.diff(values[top:]) <= 1e-6)
    assert np.all(values[:total] > 0), "a step with a rate of zero is wasted"
    if name == "inverse_sqrt":  # which has no end
        steps = np.maximum(np.arange(top, total + 5), 1)
        assert values[top:] == pytest.approx(2.0 * np.sqrt(max(top, 1) / steps), rel=1e-5)
    else:
        assert values[total:] == pytest.approx(2.0 * ENDS.get(name, 0.0), abs=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_is_continuous(name):
    # The largest step between neighbours shrinks with the length: there is no jump at the warmup's end.
    for total in (100, 1000):
        values = rates(build_schedule(name, 1.0, total, 0.1), total + 1)
        assert np.abs(np.diff(values)).max() < 11.0 / total


def test_halfway_values():
    def middle(name, **options):
        return float(build_schedule(name, 1.0, 100, 0, **options)(50))

    assert middle("linear") == pytest.approx(0.5)
    assert middle("linear", end_factor=0.2) == pytest.approx(0.6)
    assert float(build_schedule("cosine", 1.0, 100, 0)(25)) == pytest.approx(0.5 + 0.5 * 2**-0.5, rel=1e-5)
    assert middle("polynomial") == pytest.approx(0.25)
    assert middle("polynomial", power=3.0) == pytest.approx(0.125)
    assert middle("exponential") == pytest.approx(0.1, rel=1e-5)
    assert float(build_schedule("constant", 1.0, 100, 10)(99)) == 1.0


@pytest.mark.parametrize(("total", "cut_frac", "ratio"), [(100, 0.1, 32), (40, 0.25, 5), (30, 0.5, 1)])
def test_slanted_triangle_is_the_published_one(total, cut_frac, ratio):
    # Howard & Ruder 2018, equation 3, for lengths that the cut divides.
    cut = int(total * cut_frac)
    steps = np.arange(total + 1)
    share = np.where(steps < cut, steps / cut, 1 - (steps - cut) / (cut * (1 / cut_frac - 1)))
    expected = 0.5 * (1 + share * (ratio - 1)) / ratio
    schedule = SlantedTriangularSchedule(0.5, total, cut_frac, ratio)
    np.testing.assert_allclose(rates(schedule, total + 1), expected, rtol=1e-5)


def test_constant_without_warmup_is_a_plain_float():
    assert build_schedule("constant", 3e-5) == 3e-5
    assert isinstance(build_schedule("constant", np.float32(3e-5)), float)
    assert isinstance(build_schedule("constant", 3e-5, 10), float)


@pytest.mark.parametrize("name", SCHEDULES)
def test_serialises(name):
    options = {"ratio": 8.0} if name == "slanted_triangular" else {"end_factor": 0.1}
    schedule = build_schedule(name, 0.5, 40, 3, **options)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert type(again) is type(schedule)
    np.testing.assert_array_equal(rates(again, 50), rates(schedule, 50))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("linaer", 1.0), "schedule must be one of .*; got 'linaer'; did you mean 'linear'"),
        ((None, 1.0), "schedule must be one of"),
        (("linear", 0.0), "peak must be positive; got 0.0"),
        (("constant", -1.0), "peak must be positive"),
        (("linear", float("nan")), "peak must be positive; got nan"),
        (("linear", "fast"), "peak must be a number; got 'fast'"),
        (("linear", 1.0, 0), "total_steps must be a whole number of at least 1; got 0"),
        (("linear", 1.0, 2.5), "total_steps must be a whole number"),
        (("linear", 1.0, True), "total_steps must be a whole number"),
        (("linear", 1.0, 10, 11), "warmup must not exceed total_steps, 10; got 11"),
        (("linear", 1.0, 10, -1), "warmup must not be negative"),
        (("linear", 1.0, 10, 1.5), "warmup as a fraction must be at least 0 and below 1; got 1.5"),
        (("constant", 1.0, 10, -0.5), "warmup as a fraction"),
        (("linear", 1.0, 10, "a"), "warmup must be a number of steps or a fraction"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(TransformerError, match=message) as caught:
        build_schedule(*arguments)
    assert "\n" not in str(caught.value)


def test_bad_options():
    with pytest.raises(TransformerError, match="options end_factor, power; got 'powr'; did you mean 'power'"):
        build_schedule("polynomial", 1.0, powr=2)
    with pytest.raises(TransformerError, match="takes the options end_factor; got 'power'"):
        build_schedule("linear", 1.0, power=2)
    with pytest.raises(TransformerError, match="end_factor must be between 0 and 1; got 2"):
        build_schedule("linear", 1.0, end_factor=2)
    with pytest.raises(TransformerError, match="end_factor must be above 0"):
        build_schedule("exponential", 1.0, end_factor=0)
    with pytest.raises(TransformerError, match="power must be positive"):
        build_schedule("polynomial", 1.0, power=0)
    with pytest.raises(TransformerError, match="takes the options ratio; got 'end_factor'"):
        build_schedule("slanted_triangular", 1.0, end_factor=0.1)
    with pytest.raises(TransformerError, match="ratio must be at least 1; got 0.5"):
        build_schedule("slanted_triangular", 1.0, ratio=0.5)


def test_without_a_length_it_says_so():
    with pytest.raises(TransformerError, match="total_steps must be set"):
        build_schedule("linear", 1.0)(3)


def test_the_warmed_linear_schedule_decays_from_the_first_step_and_never_to_nothing():
    values = rates(WarmedLinearSchedule(2.0, total_steps=100, warmup=10), 101)
    assert values[[0, 4, 9]] == pytest.approx([0.2, 0.5 * 2 * 0.96, 2 * 0.91])
    assert values[[50, 99, 100]] == pytest.approx([1.0, 0.04, 0.04])
    # A warmup longer than the run, a fraction of it, and none.
    assert rates(WarmedLinearSchedule(1.0, total_steps=2, warmup=200), 2) == pytest.approx([0.005, 0.005])
    assert rates(WarmedLinearSchedule(1.0, 10, warmup=0.2), 2) == pytest.approx([0.5, 0.9])
    assert rates(WarmedLinearSchedule(1.0, 4, warmup=0), 2) == pytest.approx([1.0, 0.75])
    again = keras.optimizers.schedules.deserialize(
        keras.optimizers.schedules.serialize(WarmedLinearSchedule(1.0, 10, warmup=200, end_factor=0.5))
    )
    assert again.get_config() == WarmedLinearSchedule(1.0, 10, warmup=200, end_factor=0.5).get_config()
