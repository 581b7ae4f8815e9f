"""The loop: schedules, checkpoints, the log, and stopping where it must."""

import math
import time

import keras
import numpy as np
import pytest

from tftransformer.config import TransformerConfig
from tftransformer.data.shard_batches import ShardBatches
from tftransformer.data.shards import open_shards
from tftransformer.errors import TransformerError
from tftransformer.models.encoder import build_encoder
from tftransformer.training import speed
from tftransformer.training.prefetching import Prefetched
from tftransformer.training.pretraining import Pretrainer
from tftransformer.training.pretraining_log import PretrainingLog, read_log
from tftransformer.training.pretraining_loop import PretrainingLoop
from tftransformer.training.pretraining_plan import FINAL_RATE, Schedule
from tftransformer.training.spelling import spell_pieces


class Stub:
    """A pretrainer whose only weight is the sum of what it has seen."""

    learning_rate = 1.0
    loss = 2.0

    def __init__(self):
        self.seen = np.zeros((), "int64")

    def step(self, batch, rate):
        self.seen += int(batch["token_ids"].sum())
        return {"loss": self.loss, "masked_lm": self.loss}

    def evaluate(self, batches):
        return {"loss": 1.0, "masked_lm": 1.0}

    def get_state(self):
        return {"weight/0": self.seen}

    def set_state(self, state):
        self.seen = state["weight/0"]


@pytest.fixture(scope="module")
def batches(shard_folder):
    return ShardBatches(open_shards(shard_folder), max_length=16, batch_size=4)


@pytest.fixture
def make(tmp_path, batches):
    return lambda identity="a": PretrainingLoop(Stub(), batches, [], tmp_path, {"shards": identity})


def test_rates_rise_then_fall_and_never_reach_nothing():
    schedule = Schedule(steps=100, warmup=10)
    assert [schedule.rate(step, 0.0) for step in (0, 4, 9)] == [0.1, 0.5, 1.0]
    assert schedule.rate(50, 0.5) == 0.5 and schedule.rate(99, 0.999) == FINAL_RATE
    assert Schedule(steps=4).done(1, 0.0) == 0.25 and Schedule(minutes=2).done(1, 30.0) == 0.25
    assert Schedule(steps=4, warmup=0).rate(0, 0.0) == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give either minutes or steps"),
        ({"minutes": 1, "steps": 1}, "give either minutes or steps"),
        ({"minutes": 0.0}, "must be above 0; got 0.0"),
        ({"steps": -1}, "must be above 0; got -1"),
        ({"minutes": math.nan}, "must be above 0; got nan"),
        ({"steps": 1, "warmup": -1}, "warmup must be at least 0; got -1"),
    ],
)
def test_a_schedule_needs_one_sensible_length(arguments, message):
    with pytest.raises(TransformerError, match=message):
        Schedule(**arguments)


def test_a_loop_stops_by_steps_or_by_the_clock_and_takes_snapshots(make):
    taken = []
    figures = make().train(Schedule(steps=4, snapshot_minutes=0.0), lambda f: taken.append(f["step"]))
    assert figures["step"] == 4 and taken == [1, 2, 3, 4, 4] and figures["tokens"] > 0
    assert figures["heldout_perplexity"] == pytest.approx(math.e)
    assert 0.6 < make().train(Schedule(minutes=0.01))["seconds"] < 10.0


def test_two_halves_see_what_a_whole_run_sees_and_log_it_once(make, tmp_path):
    whole = make()
    whole.train(Schedule(steps=14))
    first = make()
    first.train(Schedule(steps=9, heldout_minutes=0.0))
    first.train(Schedule(steps=11, heldout_minutes=0.0))  # rows beyond the checkpoint, which go again
    assert read_log(tmp_path / "log.csv")[-1]["step"] == 11
    first = make()
    first.train(Schedule(steps=9))
    second = make()
    assert second.restore() == 9
    figures = second.train(Schedule(steps=14, heldout_minutes=0.0))
    assert second.pretrainer.seen == whole.pretrainer.seen and second.position == whole.position
    assert figures["tokens"] == whole.figures["tokens"]
    steps = [row["step"] for row in read_log(tmp_path / "log.csv")]
    assert steps == sorted(steps) and steps.count(9) == 1 and steps[-1] == 14


def test_an_interrupted_loop_leaves_a_checkpoint(make, monkeypatch):
    loop = make()
    real = loop.pretrainer.step

    def step(batch, rate):
        if loop.figures["step"] == 3:
            raise KeyboardInterrupt
        return real(batch, rate)

    monkeypatch.setattr(loop.pretrainer, "step", step)
    with pytest.raises(KeyboardInterrupt):
        loop.train(Schedule(steps=9))
    assert make().restore() == 3


def test_what_cannot_be_resumed_says_why(make, tmp_path):
    with pytest.raises(TransformerError, match="nothing to resume: .*checkpoint.npz does not exist"):
        make().restore()
    make().train(Schedule(steps=1))
    with pytest.raises(TransformerError, match="the run to resume had shards=a; now it is b"):
        make("b").restore()
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(TransformerError, match="checkpoint .* is damaged"):
        make().restore()


def test_a_loss_that_is_not_finite_stops_the_run(make):
    loop = make()
    loop.pretrainer.loss = math.nan
    with pytest.raises(TransformerError, match="the loss is nan at step 1; lower learning_rate"):
        loop.train(Schedule(steps=3))


def test_errors_of_the_background_are_raised_where_items_are_used():
    def items():
        yield 1
        raise TransformerError("no more")

    stream = Prefetched(items())
    assert next(stream) == 1
    with pytest.raises(TransformerError, match="no more"):
        next(stream)
    stream.close()
    endless = Prefetched(iter(int, 1), ahead=1)
    started = time.monotonic()
    endless.close()  # while the queue is full
    assert time.monotonic() - started < 5.0


def test_a_log_drops_the_rows_behind_a_checkpoint(tmp_path):
    path = tmp_path / "log.csv"
    log = PretrainingLog(path, ("step", "loss"))
    for step in (1, 2, 3):
        log.write({"step": step, "loss": 0.5})
    PretrainingLog(path, ("step", "loss"), step=2).write({"step": 9})
    assert read_log(path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.5}, {"step": 9}]
    PretrainingLog(path, ("step", "loss"))
    assert read_log(path) == []


def test_operations_are_those_of_the_matrix_products(monkeypatch):
    config = TransformerConfig(
        vocabulary_size=9, num_layers=3, hidden_dim=8, num_heads=2, intermediate_dim=16, max_sequence_length=8
    )
    products = 4 * 8 * 8 + 2 * 8 * 16 + 2 * 8 * 8  # projections, feed-forward, scores and their use at T = 8
    assert speed.forward_operations(build_encoder(config), config, 8) == 2.0 * 3 * products
    shared = config.replace(num_distinct_blocks=1)
    assert speed.forward_operations(build_encoder(shared), shared, 8) == 2.0 * 3 * products
    monkeypatch.setattr(speed, "MEASURED_SECONDS", 0.01)
    assert 1e6 < speed.matmul_peak(64, 64, 64) < 1e15


def test_states_of_other_models_and_backends_without_steps_are_refused(monkeypatch):
    config = TransformerConfig(
        vocabulary_size=9, num_layers=1, hidden_dim=8, num_heads=2, intermediate_dim=16
    )
    wider = config.replace(hidden_dim=16, head_dim=8)
    small, large = Pretrainer(build_encoder(config), config), Pretrainer(build_encoder(wider), wider)
    with pytest.raises(TransformerError, match="of a model with other sizes or objective"):
        small.set_state(large.get_state())
    with pytest.raises(TransformerError, match="of a model with other sizes or objective"):
        small.set_state({**small.get_state(), f"weight/{len(small.variables)}": np.zeros(1)})
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(TransformerError, match="backends tensorflow and jax; KERAS_BACKEND is 'torch'"):
        Pretrainer(build_encoder(config), config)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objective": "masked_ml"}, "objective must be one of .*; did you mean 'masked_lm'"),
        ({"objective": "both"}, "objective 'both' needs a teacher"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0; got 0.0"),
    ],
)
def test_a_pretrainer_refuses(arguments, message):
    config = TransformerConfig(
        vocabulary_size=9, num_layers=1, hidden_dim=8, num_heads=2, intermediate_dim=16
    )
    with pytest.raises(TransformerError, match=message):
        Pretrainer(build_encoder(config), config, **arguments)


def test_unknown_characters_are_spelled_as_unknown():
    assert spell_pieces(["x", "ab", "##ab"], ["[UNK]", "a", "##b", "##a"], 0) == [[0], [1, 2], [3, 2]]
