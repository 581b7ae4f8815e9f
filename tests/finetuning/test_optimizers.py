"""Optimizers: the update against NumPy, accumulation, clipping, state on disk, and errors."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.errors import TransformerError
from tftransformer.finetuning import SGD, AdamW, BindSchedule, LinearSchedule, build_optimizer, inner_optimizer

ADDRESSES = ("encoder_block_0/kernel", "encoder_block_0/bias", "norm/gamma", "head/kernel")


def host(variable):
    return keras.ops.convert_to_numpy(variable)


def variables(prefix=""):
    random = np.random.default_rng(3)
    made = []
    for address in ADDRESSES:
        *scopes, name = (prefix + address).split("/")
        with contextlib.ExitStack() as stack:
            for scope in scopes:
                stack.enter_context(keras.name_scope(scope))
            made.append(keras.Variable(random.normal(size=(3, 2)).astype("float32"), name=name))
    return made


def reference_adamw(weights, gradients, rates, *, decay, clip, epsilon, factors, decayed):
    """AdamW of Loshchilov & Hutter 2017, algorithm 2, in float64, with a factor per weight on the rate."""
    weights = [weight.astype("float64") for weight in weights]
    first = [np.zeros_like(weight) for weight in weights]
    second = [np.zeros_like(weight) for weight in weights]
    for step, (grads, rate) in enumerate(zip(gradients, rates), start=1):
        norm = np.sqrt(sum((grad.astype("float64") ** 2).sum() for grad in grads))
        scale = min(1.0, clip / norm) if clip else 1.0
        for i, grad in enumerate(grads):
            grad = grad.astype("float64") * scale
            first[i] = 0.9 * first[i] + 0.1 * grad
            second[i] = 0.999 * second[i] + 0.001 * grad**2
            # Adam's epsilon-hat form, as in Keras and TensorFlow.
            step_size = rate * factors[i] * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            if decayed[i]:
                weights[i] = weights[i] * (1 - rate * factors[i] * decay)
            weights[i] = weights[i] - step_size * first[i] / (np.sqrt(second[i]) + epsilon)
    return weights


@pytest.mark.parametrize("prefix", ["", "classifier/"])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_adamw_is_the_published_update(prefix, clip):
    weights = variables(prefix)
    start = [host(weight) for weight in weights]
    random = np.random.default_rng(0)
    gradients = [[random.normal(size=(3, 2)).astype("float32") for _ in weights] for _ in range(5)]
    optimizer = AdamW(
        LinearSchedule(0.1, total_steps=5, warmup=2),
        weight_decay=0.3,
        epsilon=1e-6,
        global_clipnorm=clip,
        rate_multipliers={"head/kernel": 10.0, "encoder_block_0/.*": 0.5, ".*kernel": 99.0},
    )
    for grads in gradients:
        optimizer.apply_gradients(zip([tf.constant(grad) for grad in grads], weights))
    expected = reference_adamw(
        start,
        gradients,
        [0.1 / 3, 0.2 / 3, 0.1, 0.2 / 3, 0.1 / 3],
        decay=0.3,
        clip=clip,
        epsilon=1e-6,
        factors=[0.5, 0.5, 1.0, 10.0],
        decayed=[True, False, False, True],
    )
    for weight, value in zip(weights, expected):
        np.testing.assert_allclose(host(weight), value, rtol=2e-5, atol=2e-6)


def test_adamw_agrees_with_keras(small):
    def run(optimizer):
        model = small.build_model(blocks=1)
        # Keras squares a table's gradient slice by slice, before rows that occur twice are summed; we do not.
        model.get_layer("embeddings").trainable = False
        model.compile(optimizer, small.loss(), jit_compile=False)
        model.fit(*small.data(), epochs=2, batch_size=8, shuffle=False, verbose=0)
        return model.get_weights()

    theirs = keras.optimizers.AdamW(1e-2, weight_decay=0.1, epsilon=1e-6, global_clipnorm=0.5)
    theirs.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    ours = AdamW(1e-2, weight_decay=0.1, epsilon=1e-6, global_clipnorm=0.5)
    for a, b in zip(run(ours), run(theirs)):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "make",
    [
        lambda **steps: SGD(0.5, momentum=0.9, global_clipnorm=0.05, weight_decay=0.1, **steps),
        pytest.param(lambda **steps: AdamW(LinearSchedule(1e-2), epsilon=1e-3, **steps), marks=pytest.mark.slow),
    ],
)
def test_accumulated_batches_equal_one_large_batch(small, make, jit_compile):
    def run(steps, batch_size):
        model = small.build_model(blocks=1)
        start = model.get_weights()
        model.compile(make(gradient_accumulation_steps=steps), small.loss(), jit_compile=jit_compile)
        model.fit(*small.data(), epochs=2, batch_size=batch_size, shuffle=False, verbose=0, callbacks=[BindSchedule()])
        return start, model.get_weights(), int(model.optimizer.iterations)

    start, accumulated, updates = run(4, 6)
    _, large, updates_large = run(None, 24)
    assert updates == updates_large == 4
    for before, a, b in zip(start, accumulated, large):
        assert np.abs(a - before).max() > 1e-4
        np.testing.assert_allclose(a, b, atol=1e-6)


def trained_in_parts(small, batches, steps, epochs=2, run_eagerly=True, **options):
    """Weights and updates after training on explicit large batches, and on the micro-batches that make them."""
    x, y = small.data(rows=2 * batches)
    micro = [(x[start : start + 2], y[start : start + 2]) for start in range(0, 2 * batches, 2)]
    large = [
        tuple(np.concatenate(part) for part in zip(*micro[start : start + steps])) for start in range(0, batches, steps)
    ]
    results = []
    for parts, accumulation in ((large, None), (micro, steps)):
        model = small.build_model(blocks=1)
        make = SGD(
            LinearSchedule(0.5), momentum=0.9, global_clipnorm=0.05,
            gradient_accumulation_steps=accumulation, **options,
        )  # fmt: skip
        model.compile(make, small.loss(), run_eagerly=run_eagerly, jit_compile=False)
        data = tf.data.Dataset.from_generator(
            lambda parts=parts: iter(parts),
            output_signature=(tf.TensorSpec((None, 4), tf.int32), tf.TensorSpec((None,), tf.int32)),
        ).apply(tf.data.experimental.assert_cardinality(len(parts)))
        model.fit(data, epochs=epochs, verbose=0, callbacks=[BindSchedule()])
        results.append((model.get_weights(), int(model.optimizer.iterations), model))
    return results


PARTS = [(3, 8), (3, 2)]
# Fewer than make an update, as many, and more by every remainder.
SLOW_PARTS = [(1, 2), (2, 2), (7, 2), (1, 3), (2, 3), (3, 3), (4, 3), (5, 3), (1, 8), (7, 8)]


@pytest.mark.parametrize(
    ("batches", "steps"), [*PARTS, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in SLOW_PARTS)]
)
def test_what_is_left_of_an_epoch_makes_an_update_of_its_own(small, batches, steps):
    large, accumulated = trained_in_parts(small, batches, steps)
    assert accumulated[1] == large[1] == 2 * -(-batches // steps)
    start = small.build_model(blocks=1).get_weights()
    for before, a, b in zip(start, accumulated[0], large[0]):
        assert np.abs(a - before).max() > 1e-4
        np.testing.assert_allclose(a, b, atol=1e-6)


# The default run has the law without a graph.
@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_what_is_left_of_an_epoch_in_a_graph(small, jit_compile):
    model = small.build_model(blocks=1)
    x, y = small.data(rows=6)
    model.compile(SGD(0.5, gradient_accumulation_steps=8), small.loss(), jit_compile=jit_compile)
    start = model.get_weights()
    model.fit(x, y, batch_size=2, shuffle=False, verbose=0, callbacks=[BindSchedule()], epochs=1)
    large = small.build_model(blocks=1)
    large.compile(SGD(0.5), small.loss(), jit_compile=False)
    large.fit(x, y, batch_size=6, shuffle=False, verbose=0, epochs=1)
    for before, a, b in zip(start, model.get_weights(), large.get_weights()):
        assert np.abs(a - before).max() > 1e-4
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_what_is_left_of_an_epoch_is_carried_on_where_asked(small):
    # Three epochs of 3 batches by 4: after the 4th, the 8th and, because the run is over, the 9th.
    large, accumulated = trained_in_parts(small, 3, 4, epochs=3, carry_accumulation=True)
    assert accumulated[1] == 3
    optimizer = accumulated[2].optimizer
    again = type(optimizer).from_config(optimizer.get_config())
    assert again.carry_accumulation and again.gradient_accumulation_steps == 4
    assert float(optimizer.learning_rate) == 0.0, "the schedule ends with the last update"


def test_a_run_starts_with_nothing_accumulated(small):
    model = small.build_model(blocks=1)
    x, y = small.data(rows=6)
    optimizer = SGD(0.5, gradient_accumulation_steps=2, carry_accumulation=True)
    model.compile(optimizer, small.loss(), run_eagerly=True)
    # Without the callback nobody knows where an epoch ends: the third batch stays.
    model.fit(x, y, batch_size=2, verbose=0, epochs=1)
    assert max(np.abs(host(value)).max() for value in optimizer._accumulated_gradients) > 0
    optimizer.start_run(3)
    assert max(np.abs(host(value)).max() for value in optimizer._accumulated_gradients) == 0
    assert int(optimizer.iterations) == 1 and int(optimizer._iterations) == 2


def test_nothing_moves_before_the_last_batch_of_an_update():
    weights = variables()
    start = [host(weight) for weight in weights]
    optimizer = SGD(1.0, gradient_accumulation_steps=3)
    for batch in range(1, 7):
        optimizer.apply_gradients([(tf.ones((3, 2)), weight) for weight in weights])
        for weight, before in zip(weights, start):
            np.testing.assert_allclose(host(weight), before - batch // 3, atol=1e-6)


def test_clips_the_norm_of_all_gradients_together():
    weights = variables()
    start = [host(weight) for weight in weights]
    SGD(1.0, global_clipnorm=1.0).apply_gradients([(tf.fill((3, 2), 5.0), weight) for weight in weights])
    moved = np.concatenate([(host(weight) - before).ravel() for weight, before in zip(weights, start)])
    assert np.linalg.norm(moved) == pytest.approx(1.0, abs=1e-5)


def test_a_table_read_twice_is_clipped_by_the_sum_of_its_rows():
    # Its gradient comes in slices that name a row more than once.
    table = keras.Variable(np.zeros((5, 2), "float32"), name="embeddings")
    gradient = tf.IndexedSlices(tf.ones((3, 2)), tf.constant([4, 4, 1]), tf.constant([5, 2]))
    SGD(1.0, global_clipnorm=1.0).apply_gradients([(gradient, table)])
    norm = np.sqrt(2 * 4 + 2)
    np.testing.assert_allclose(host(table)[[0, 1, 4], 0], [0, -1 / norm, -2 / norm], atol=1e-6)


@pytest.mark.parametrize("make", [lambda: AdamW(0.1), lambda: SGD(0.1, momentum=0.9)])
def test_a_sparse_gradient_acts_like_the_same_gradient_written_out(make):
    results = []
    for dense in (True, False):
        table = keras.Variable(np.ones((5, 2), "float32"), name="embeddings")
        optimizer = make()
        for rows in ([4, 4, 1], [0, 4, 4], [2, 2, 2]):
            slices = tf.constant([[1.0, 2], [3, -4], [5, 6]])
            gradient = tf.IndexedSlices(slices, tf.constant(rows), tf.constant([5, 2]))
            optimizer.apply_gradients([(tf.convert_to_tensor(gradient) if dense else gradient, table)])
        results.append(host(table))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("steps", [None, 2])
def test_an_update_that_is_not_finite_changes_nothing(steps):
    weights = variables()
    optimizer = AdamW(0.1, gradient_accumulation_steps=steps)
    good, bad = tf.ones((3, 2)), tf.fill((3, 2), np.float32("inf"))
    for _ in range(steps or 1):
        optimizer.apply_gradients([(good, weight) for weight in weights])
    before = [host(value) for value in [*weights, *optimizer._momentums, *optimizer._velocities]]
    assert optimizer.first_bad_step == 0
    for _ in range(2 * (steps or 1)):
        optimizer.apply_gradients([(bad if weight is weights[1] else good, weight) for weight in weights])
    assert optimizer.first_bad_step == 2
    for value, kept in zip([*weights, *optimizer._momentums, *optimizer._velocities], before):
        np.testing.assert_array_equal(host(value), kept)
    for _ in range(steps or 1):
        optimizer.apply_gradients([(good, weight) for weight in weights])
    assert optimizer.first_bad_step == 2
    assert np.abs(np.array(weights[0]) - before[0]).max() > 0.01
    optimizer.reset_first_bad_step()
    assert optimizer.first_bad_step == 0


@pytest.mark.parametrize("make", [lambda small: small.build_model(), lambda small: small.Task(name="classifier")])
def test_addresses_are_found_whatever_wraps_the_layers(small, make):
    model = make(small)
    model(small.data()[0])
    optimizer = AdamW(rate_multipliers={"head/.*": 25.0})
    optimizer.build(model.trainable_variables)
    factors, decays = optimizer._rate_factors, optimizer._decayed
    for variable, factor, decayed in zip(model.trainable_variables, factors, decays):
        assert factor == (25.0 if "head" in variable.path else 1.0)
        assert decayed == (variable.name in ("kernel", "embeddings"))


def test_keras_exclusions_count_too():
    optimizer = AdamW()
    optimizer.exclude_from_weight_decay(var_names=["kernel"])
    optimizer.build(variables())
    assert not any(optimizer._decayed)


@pytest.mark.parametrize(
    "make",
    [
        lambda: AdamW(
            1e-3,
            weight_decay=0.02,
            beta_1=0.8,
            epsilon=1e-5,
            global_clipnorm=None,
            name="mine",
            rate_multipliers={"head/.*": 2.0, "extra.*": 3.0},
            no_decay=".*bias",
            gradient_accumulation_steps=2,
        ),
        lambda: SGD(LinearSchedule(0.1, 10), momentum=0.5, nesterov=True, weight_decay=0.1),
    ],
)
def test_configuration_survives(make):
    optimizer = make()
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()


@pytest.mark.parametrize(
    "learning_rate", [pytest.param(1e-2, marks=pytest.mark.slow), "linear"]
)  # the linear one without graphs
def test_training_goes_on_where_a_saved_model_stopped(small, tmp_path, learning_rate):
    def make():
        rate = LinearSchedule(1e-2) if learning_rate == "linear" else learning_rate
        model = small.build_model(blocks=1)
        optimizer = AdamW(rate, rate_multipliers={"head/.*": 5.0}, gradient_accumulation_steps=2)
        model.compile(optimizer, small.loss(), jit_compile=False, run_eagerly=learning_rate == "linear")
        return model

    def fit(model, **options):
        model.fit(
            *small.data(rows=16),
            batch_size=8,
            shuffle=False,
            verbose=0,
            epochs=4,
            callbacks=[BindSchedule(options.get("initial_epoch", 0))],
            **options,
        )

    whole = make()
    fit(whole)
    half = make()

    class Save(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.model.save(tmp_path / "half.keras")
                self.model.stop_training = True

    half.fit(*small.data(rows=16), batch_size=8, shuffle=False, verbose=0, epochs=4, callbacks=[BindSchedule(), Save()])
    again = keras.models.load_model(tmp_path / "half.keras")
    assert int(again.optimizer.iterations) == 2
    assert float(again.optimizer.learning_rate) == pytest.approx(float(half.optimizer.learning_rate))
    for a, b in zip(again.optimizer.variables, half.optimizer.variables):
        np.testing.assert_array_equal(host(a), host(b))
    fit(again, initial_epoch=2)
    for a, b in zip(again.get_weights(), whole.get_weights()):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.slow
def test_float16_with_keras_loss_scale(small):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = small.build_model(blocks=1)
        model.compile(AdamW(1e-2, gradient_accumulation_steps=2), small.loss(), jit_compile=False)
        history = model.fit(*small.data(), epochs=8, batch_size=8, verbose=0).history["loss"]
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert isinstance(inner_optimizer(model.optimizer), AdamW)
    assert inner_optimizer(model.optimizer).first_bad_step == 0
    assert history[-1] < history[0] - 0.05


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["bfloat16", "mixed_bfloat16"])
def test_bfloat16_trains(small, policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = small.build_model(blocks=1)
        model.compile(AdamW(1e-2), small.loss(), jit_compile=False)
        history = model.fit(*small.data(), epochs=8, batch_size=8, verbose=0).history["loss"]
    finally:
        keras.config.set_dtype_policy("float32")
    assert history[-1] < history[0] - 0.05


@pytest.mark.slow
def test_early_stopping_restores_the_best_weights_also_when_the_last_epoch_is_the_best(small):
    for patience, epochs in ((1, 6), (9, 2)):
        model = small.build_model(blocks=1)
        model.compile(AdamW(0.05), small.loss(), jit_compile=False)
        validation = small.data(seed=5)
        stop = keras.callbacks.EarlyStopping(patience=patience, restore_best_weights=True)
        history = model.fit(*small.data(), epochs=epochs, validation_data=validation, verbose=0, callbacks=[stop])
        best = min(history.history["val_loss"])
        assert model.evaluate(*validation, verbose=0) == pytest.approx(best, rel=1e-5)


def test_default_optimizer(small):
    optimizer = build_optimizer(fresh="extra_block_0/.*")
    assert isinstance(optimizer._learning_rate, LinearSchedule)
    optimizer.build(small.build_model().trainable_variables)
    assert sorted(set(optimizer._rate_factors)) == [1.0, 25.0]
    assert float(build_optimizer(1e-3, schedule="constant").learning_rate) == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdamW(-1.0), "learning_rate must be at least 0; got -1.0"),
        (lambda: AdamW("fast"), "learning_rate must be a number; got 'fast'"),
        (lambda: AdamW(float("inf")), "learning_rate must be at least 0; got inf"),
        (lambda: AdamW(weight_decay=-0.1), "weight_decay must be at least 0; got -0.1"),
        (lambda: AdamW(global_clipnorm=0.0), "global_clipnorm must be positive; got 0.0"),
        (lambda: AdamW(gradient_accumulation_steps=0), "gradient_accumulation_steps must be"),
        (lambda: AdamW(gradient_accumulation_steps=1.5), "gradient_accumulation_steps must be"),
        (lambda: AdamW(carry_accumulation="no"), "carry_accumulation must be True or False; got 'no'"),
        (lambda: AdamW(rate_multipliers={"a": -1}), r"rate_multipliers\['a'\] must be at least 0; got -1"),
        (lambda: SGD(momentum=2.0), "momentum must be between 0 and 1; got 2.0"),
        (
            lambda: AdamW(rate_multipliers={"haed/.*": 2.0}).build(variables()),
            r"rate_multipliers: 'haed/\.\*' matches none of the 4 trained weights",
        ),
        (lambda: AdamW(no_decay="hed/kernel").build(variables()), "no_decay: .* did you mean 'head/kernel'"),
        (lambda: AdamW(no_decay="(").build(variables()), "no_decay: .* is not a regular expression"),
        (
            lambda: AdamW(LinearSchedule(0.1)).apply([keras.ops.ones((2, 2))], variables()[:1]),
            "the schedule has no length",
        ),
        (lambda: AdamW(LinearSchedule(0.1)).bind_schedule(None), "total_steps must be a whole number"),
        (lambda: AdamW(LinearSchedule(0.1)).bind_schedule(0), "total_steps must be a whole number"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(TransformerError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def trained_table(sparse_updates, steps, rows, **options):
    """A table of 5,000 rows after some steps on batches of ids, and the optimizer."""
    random = np.random.default_rng(1)
    table = keras.layers.Embedding(5000, 6)
    table.build(None)
    table.embeddings.assign(random.normal(size=(5000, 6)))
    other = keras.Variable(random.normal(size=(3,)).astype("float32"), name="kernel")
    optimizer = AdamW(0.01, weight_decay=0.1, sparse_updates=sparse_updates, **options)
    optimizer.build([table.embeddings, other])

    @tf.function
    def step(ids, target):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(table(ids) - target)) + tf.reduce_sum(other.value)
        weights = [table.embeddings, other]
        optimizer.apply(tape.gradient(loss, [weight.value for weight in weights]), weights)

    for _ in range(steps):
        ids = random.integers(0, rows, (4, 9)).astype("int32")  # some of them twice
        step(tf.constant(ids), tf.constant(random.normal(size=(4, 9, 6)).astype("float32")))
    return table.embeddings, optimizer


@pytest.mark.parametrize(("steps", "rows"), [(1, 5000), (12, 300), (140, 5000)])
def test_sparse_updates_give_the_dense_update(steps, rows):
    # The last case passes a third of the table and goes over to dense updates on the way.
    expected, dense = trained_table(False, steps, rows)
    table, sparse = trained_table(True, steps, rows)
    np.testing.assert_allclose(host(table), host(expected), rtol=4e-7, atol=2e-7)
    for ours, theirs in zip(sparse.variables[2:], dense.variables[2:]):
        if ours.dtype == "float32":
            np.testing.assert_allclose(host(ours), host(theirs), rtol=1e-6, atol=1e-9)
    flags = host(sparse._touched[0])
    moments = np.abs(host(sparse._momentums[0])).sum(-1) > 0
    assert (flags == moments).all() and (1 < flags.sum() <= min(36 * steps, rows))


def test_rows_that_no_gradient_reached_only_decay():
    table, _ = trained_table(True, 3, 100, global_clipnorm=None)
    start, _ = trained_table(True, 0, 100)
    kept = np.float32(1.0 - 0.01 * 0.1)
    np.testing.assert_allclose(host(table)[100:], host(start)[100:] * kept**3, rtol=1e-6)


def test_training_with_sparse_updates_goes_on_from_saved_moments():
    _, optimizer = trained_table(True, 3, 50)
    store = {}
    optimizer.save_own_variables(store)
    _, other = trained_table(True, 0, 50)
    other.load_own_variables({name: np.asarray(value) for name, value in store.items()})
    assert host(other._touched[0]).sum() == host(optimizer._touched[0]).sum() > 0
