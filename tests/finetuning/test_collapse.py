"""A classifier that answers the same whatever the text is noticed after a hundred updates; one that learns is not."""

import keras
import numpy as np
import pytest

from tftransformer.finetuning.guards import CollapseMonitor, chance_loss

SAME, DIFFERENT = np.full((8, 2), 0.5), np.array([[0.9, 0.1], [0.2, 0.8]] * 4)


def run(losses, probabilities=SAME, epoch_batches=10, inferred=0.7, **options):
    """The lines of a run whose batches have these losses, and how often it was probed."""
    lines, probes = [], []

    def probe():
        probes.append(1)
        return probabilities, inferred

    callback = CollapseMonitor(0.7, probe, batches=len(losses), say=lines.append, **options)
    callback.on_train_begin()
    for start in range(0, len(losses), epoch_batches):
        callback.on_epoch_begin(start // epoch_batches)
        for batch in range(min(epoch_batches, len(losses) - start)):
            callback.on_train_batch_end(batch, {"loss": float(np.mean(losses[start : start + batch + 1]))})
    return lines, len(probes)


@pytest.mark.parametrize(
    ("losses", "probabilities", "noticed"),
    [
        ([0.71] * 250, SAME, True),
        ([0.71] * 250, DIFFERENT, False),  # a hard task, which it begins to read
        ([0.9] * 250, DIFFERENT, True),  # it left the rails
        ([0.6] * 250, SAME, False),  # most rows have one label, and it knows some others
        ([0.8] * 50 + [0.5] * 200, SAME, False),  # the beginning does not count
        ([0.3] * 50 + [0.71] * 200, SAME, True),
        ([0.71] * 60, SAME, True),  # shorter than a hundred updates
        ([0.71] * 20, SAME, False),  # too short to tell
        ([float("nan")] * 250, SAME, False),
        ([0.71] * 100, SAME, True),
    ],
)
def test_what_is_noticed(losses, probabilities, noticed):
    lines, probes = run(losses, probabilities)
    assert len(lines) == noticed and probes <= 1
    for line in lines:
        assert line.startswith(f"after {min(len(losses), 100)} updates the loss") and "\n" not in line
        assert "guessing has 0.700" in line and "try a lower learning_rate" in line


def test_dropout_alone_is_no_collapse():
    """A head that was solved for is right without it: this had been started again twice."""
    assert run([2.3] * 250, inferred=0.14)[0] == run([0.71] * 250, inferred=0.6)[0] == []
    assert len(run([2.3] * 250, inferred=2.0)[0]) == 1


def test_while_the_rate_rises_nobody_can_tell():
    assert run([0.71] * 150 + [0.5] * 100, warmup=150)[0] == []
    (line,) = run([0.71] * 250, warmup=150)[0]
    assert line.startswith("after 200 updates")
    assert run([0.71] * 100, warmup=90)[0] == []


def test_updates_are_counted_and_not_batches():
    (line,) = run([0.71] * 500, accumulated=2)[0]
    assert line.startswith("after 100 updates")


def test_chance_is_the_best_constant_answer():
    draw = np.random.default_rng(0)
    ids, many, weights = draw.integers(0, 3, 50), draw.integers(0, 2, (50, 4)), draw.random(50)
    share = np.average(np.eye(3)[ids], axis=0, weights=weights)
    sparse = keras.losses.SparseCategoricalCrossentropy(reduction="none")
    found = np.mean(weights * np.asarray(sparse(ids, np.tile(share, (50, 1)))))
    assert chance_loss(ids, 3, weights=weights) == pytest.approx(found, rel=1e-5)
    smooth = keras.losses.BinaryCrossentropy(label_smoothing=0.2)
    best = np.tile(many.mean(0) * 0.8 + 0.1, (50, 1)).astype("float32")
    assert chance_loss(many, 4, 0.2) == pytest.approx(float(smooth(many, best)), rel=1e-5)
    assert chance_loss(ids, 3, weights=np.zeros(50)) == 0.0
