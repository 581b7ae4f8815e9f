"""Callbacks of pretraining: lengths, rates, the log, checkpoints, and stopping where it must."""

import itertools
import math
import threading

import keras
import numpy as np
import pytest

from tftransformer.config import TransformerConfig
from tftransformer.data.shard_batches import ShardBatches
from tftransformer.data.shards import open_shards
from tftransformer.errors import TransformerError
from tftransformer.finetuning.schedules import WarmedLinearSchedule
from tftransformer.models.encoder import build_encoder
from tftransformer.pretraining import callbacks
from tftransformer.pretraining.batches import TrainingBatches, for_evaluate, prefetched
from tftransformer.pretraining.distillation import HiddenStateMatching
from tftransformer.pretraining.pretrainer import MaskedLanguageModelling, Pretrainer, build_optimizer

CONFIG = TransformerConfig(
    vocabulary_size=100,
    num_layers=1,
    hidden_dim=8,
    num_heads=1,
    intermediate_dim=16,
    max_sequence_length=16,
    dropout=0.0,
)


@pytest.fixture(scope="module")
def shards(shard_folder):
    return open_shards(shard_folder)


class Run:
    """A small run: its model, callbacks and folder."""

    def __init__(self, shards, folder, identity="a", resume=False, snapshot_minutes=10.0, **length):
        kinds = {"sequence_length": 16, "batch_size": 4, "packed": True, "mask_rate": 0.2}
        keras.utils.set_random_seed(0)
        encoder = build_encoder(CONFIG)
        self.model = Pretrainer(encoder, CONFIG, [MaskedLanguageModelling(encoder, CONFIG)])
        self.model.compile(build_optimizer(1e-2), run_eagerly=True)
        self.batches = TrainingBatches(ShardBatches(shards, **kinds))
        self.heldout = for_evaluate(ShardBatches(shards, "heldout", **kinds).first(1))
        schedule = WarmedLinearSchedule(1e-2, warmup=3)
        self.length = callbacks.RunLength(self.batches, schedule, **(length or {"steps": 6}))
        self.taken = []
        self.checkpoint = callbacks.Checkpoint(
            folder / "checkpoint.npz", self.length, {"shards": identity}, snapshot_minutes, self._snapshot
        )
        if resume:
            self.checkpoint.restore(self.model)
        self.log = callbacks.CSVLog(folder / "log.csv", self.length, self.length.figures["step"])

    def _snapshot(self, figures):
        self.taken.append(figures["step"])

    def fit(self, *more):
        self.model.fit(
            self.batches.for_fit(), epochs=callbacks.ENDLESS, steps_per_epoch=callbacks.ENDLESS, shuffle=False,
            validation_data=self.heldout, callbacks=[self.length, self.log, *more, self.checkpoint], verbose=0,
        )  # fmt: skip
        return self.length.figures

    def state(self):
        return [np.asarray(v) for v in self.model.state().values()]


class Interrupt(keras.callbacks.Callback):
    """Interrupts a run in a step: before it is counted, or after."""

    def __init__(self, run, step, counted):
        super().__init__()
        self.length, self.step, self.counted = run.length, step, counted

    def on_train_batch_begin(self, batch, logs=None):
        if self.length.figures["step"] + 1 == self.step and not self.counted:
            self.length.count_steps = self._stop

    def on_train_batch_end(self, batch, logs=None):
        if self.length.figures["step"] == self.step and self.counted:
            raise KeyboardInterrupt

    def _stop(self, steps=1):
        del self.length.count_steps
        raise KeyboardInterrupt


def test_a_run_stops_by_steps_or_by_the_clock_and_takes_snapshots(shards, tmp_path):
    run = Run(shards, tmp_path, snapshot_minutes=0.0, steps=4)
    figures = run.fit()
    assert figures["step"] == 4 == int(run.model.optimizer.iterations)
    assert run.taken == [1, 2, 3, 4] and figures["tokens"] > 0
    assert figures["heldout_perplexity"] == pytest.approx(math.exp(figures["heldout_loss"]))
    assert 0.6 < Run(shards, tmp_path, minutes=0.01).fit()["seconds"] < 20.0


def test_rates_follow_the_schedule_over_steps_and_over_time(shards, tmp_path):
    rates = []

    class Rates(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            rates.append(float(self.model.optimizer.learning_rate))

    Run(shards, tmp_path, steps=5).fit(Rates())
    schedule = WarmedLinearSchedule(1e-2, total_steps=5, warmup=3)
    np.testing.assert_allclose(rates, [float(schedule(step)) for step in range(5)], rtol=1e-6)
    rates.clear()
    run = Run(shards, tmp_path, minutes=1.0)
    run.length.figures.update(step=100, seconds=45.0)
    run.length.on_train_begin()
    run.length.set_model(run.model)
    run.length.on_train_batch_begin(0)
    assert float(run.model.optimizer.learning_rate) == pytest.approx(2.5e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": None}, "give either minutes or steps"),
        ({"minutes": 1, "steps": 1}, "give either minutes or steps"),
        ({"minutes": 0.0}, "must be above 0; got 0.0"),
        ({"steps": -1}, "must be above 0; got -1"),
        ({"minutes": math.nan}, "must be above 0; got nan"),
    ],
)
def test_a_run_needs_one_sensible_length(shards, tmp_path, arguments, message):
    with pytest.raises(TransformerError, match=message):
        Run(shards, tmp_path, **arguments)


@pytest.fixture(scope="module")
def whole(shards, tmp_path_factory):
    run = Run(shards, tmp_path_factory.mktemp("whole"), steps=6)
    run.fit()
    return run


@pytest.mark.by_default("before counting")
@pytest.mark.parametrize("counted", [True, False], ids=["after counting", "before counting"])
def test_an_interrupted_run_ends_as_a_whole_one_and_is_logged_once(shards, whole, tmp_path, counted):
    (tmp_path / "parts").mkdir()
    first = Run(shards, tmp_path / "parts", steps=6, heldout_minutes=0.0)
    with pytest.raises(KeyboardInterrupt):
        first.fit(Interrupt(first, 3, counted))
    first.checkpoint.save()
    first.log.on_epoch_end(0)
    first.length.figures["step"] = 5
    first.log.on_epoch_end(0)  # a row beyond the checkpoint, whose step is made again
    second = Run(shards, tmp_path / "parts", resume=True, steps=6, heldout_minutes=0.0)
    assert second.length.figures["step"] == 3
    second.fit()
    for one, two in zip(whole.state(), second.state(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert second.batches.position == whole.batches.position
    assert second.length.figures["tokens"] == whole.length.figures["tokens"]
    log = callbacks.read_log(tmp_path / "parts" / "log.csv")
    steps = [row["step"] for row in log]
    assert steps == sorted(steps) and steps.count(5) == 1 and steps[-1] == 6
    assert second.taken == [6]


def test_what_cannot_be_resumed_says_why(shards, tmp_path):
    with pytest.raises(TransformerError, match="nothing to resume: .*checkpoint.npz does not exist"):
        Run(shards, tmp_path, resume=True)
    run = Run(shards, tmp_path, steps=1)
    run.fit()
    with pytest.raises(TransformerError, match="the run to resume had shards=a; now it is b"):
        Run(shards, tmp_path, "b", resume=True)
    wider = CONFIG.replace(hidden_dim=16, head_dim=8)
    deeper = CONFIG.replace(num_layers=2)
    for other in (wider, deeper):
        encoder = build_encoder(other)
        model = Pretrainer(encoder, other, [MaskedLanguageModelling(encoder, other)])
        model.compile()
        with pytest.raises(TransformerError, match="of a model with other sizes or objective"):
            run.checkpoint.restore(model)
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(TransformerError, match="checkpoint .* is damaged"):
        Run(shards, tmp_path, resume=True)


def test_a_checkpoint_keeps_what_a_distillation_measured(shards, tmp_path):
    def model_of(scale):
        encoder = build_encoder(CONFIG)
        distillation = HiddenStateMatching(build_encoder(CONFIG), CONFIG, CONFIG, scale * np.eye(8))
        model = Pretrainer(encoder, CONFIG, [distillation])
        model.compile()
        return model, distillation

    batches = TrainingBatches(ShardBatches(shards, sequence_length=16, batch_size=4, teacher=True))
    run = callbacks.RunLength(batches, WarmedLinearSchedule(1e-2), steps=1)
    checkpoint = callbacks.Checkpoint(tmp_path / "checkpoint.npz", run, {})
    model, one = model_of(1.0)
    one.measure(batches.batches.first(2))
    checkpoint.set_model(model)
    checkpoint.save()
    model, two = model_of(2.0)
    checkpoint.restore(model)
    for a, b in zip(one.measured, two.measured, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert float(np.asarray(two.sentence_variance)) not in (0.0, 1.0)


def test_a_loss_that_is_not_finite_stops_the_run(shards, tmp_path):
    run = Run(shards, tmp_path, steps=3)
    run.model.trainable_variables[0].assign(np.full(run.model.trainable_variables[0].shape, np.nan))
    with pytest.raises(TransformerError, match="the loss is nan at step 1; lower learning_rate"):
        run.fit()
    assert not run.taken


def test_keras_evaluates_each_batch_by_its_masked_places(shards, tmp_path):
    run = Run(shards, tmp_path)
    kinds = {"sequence_length": 16, "batch_size": 2, "packed": True, "mask_rate": 0.2}
    batches = ShardBatches(shards, "heldout", **kinds).first(3)
    found = run.model.evaluate(for_evaluate(batches), verbose=0, return_dict=True)
    assert set(found) == {"loss", "masked_lm"}
    (objective,) = run.model.objectives
    losses = [float(objective.loss_terms(run.model(batch), batch)["masked_lm"]) for batch in batches]
    weights = [batch["mask_weights"].sum() for batch in batches]
    assert found["loss"] == pytest.approx(np.average(losses, weights=weights), rel=1e-5)


def test_errors_of_the_background_are_raised_where_items_are_used():
    def items():
        yield 1
        raise TransformerError("no more")

    stream = prefetched(items())
    assert next(stream) == 1
    with pytest.raises(TransformerError, match="no more"):
        next(stream)
    before = threading.active_count()
    endless = prefetched(itertools.repeat(0))
    assert next(endless) == 0 and threading.active_count() == before + 1
    endless.close()
    assert threading.active_count() == before


def test_operations_are_those_of_the_matrix_products(monkeypatch):
    config = TransformerConfig(
        vocabulary_size=9, num_layers=3, hidden_dim=8, num_heads=2, intermediate_dim=16, max_sequence_length=8
    )
    products = 4 * 8 * 8 + 2 * 8 * 16 + 2 * 8 * 8  # projections, feed-forward, scores and their use at T = 8
    assert callbacks.forward_operations(build_encoder(config), config, 8) == 2.0 * 3 * products
    shared = config.replace(num_distinct_blocks=1)
    assert callbacks.forward_operations(build_encoder(shared), shared, 8) == 2.0 * 3 * products
    monkeypatch.setattr(callbacks, "MEASURED_SECONDS", 0.01)
    for dtype in ("float32", "bfloat16"):
        assert 1e6 < callbacks.matmul_peak(64, 64, 64, dtype) < 1e15


def test_a_pretrainer_refuses(monkeypatch):
    encoder = build_encoder(CONFIG)
    with pytest.raises(TransformerError, match="objectives must hold at least one; got none"):
        Pretrainer(encoder, CONFIG, [])
    for rate in (0.0, math.nan):
        with pytest.raises(TransformerError, match=f"learning_rate must be above 0; got {rate}"):
            build_optimizer(rate)
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(TransformerError, match="backends tensorflow and jax; KERAS_BACKEND is 'torch'"):
        Pretrainer(encoder, CONFIG, [])
