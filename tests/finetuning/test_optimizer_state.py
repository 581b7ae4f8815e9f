"""An optimizer goes on with other weights: what it carries over, and how weights that join late begin."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.errors import TransformerError
from tftransformer.finetuning import SGD, AdamW, LinearSchedule
from tftransformer.finetuning.unfreezing import carry_optimizer

NAMES = ("early_0", "early_1", "late_0", "late_1")
UPDATES = 4


def host(variable):
    return keras.ops.convert_to_numpy(variable)


def weights():
    draw = np.random.default_rng(3)
    made = []
    for name in NAMES:
        with keras.name_scope(name):
            made.append(keras.Variable(draw.normal(size=(3, 2)).astype("float32"), name="kernel"))
    return made


def gradients(steps, seed=0):
    draw = np.random.default_rng(seed)
    return [{name: draw.normal(size=(3, 2)).astype("float32") for name in NAMES} for _ in range(steps)]


def train(optimizer, variables, names, steps):
    chosen = [NAMES.index(name) for name in names]
    for grads in steps:
        optimizer.apply_gradients([(tf.constant(grads[NAMES[i]]), variables[i]) for i in chosen])


MAKERS = {
    "AdamW": lambda **more: AdamW(0.05, weight_decay=0.2, global_clipnorm=None, **more),
    "SGD": lambda **more: SGD(0.05, momentum=0.9, weight_decay=0.2, **more),
    "plain SGD": lambda **more: SGD(0.05, **more),
}


@pytest.mark.parametrize("steps", [None, 2])
@pytest.mark.parametrize("kind", MAKERS)
def test_who_joins_late_starts_as_in_a_new_optimizer_and_the_others_go_on(kind, steps):
    before, after = gradients(2 * UPDATES), gradients(2 * UPDATES, seed=1)
    early, late = NAMES[:2], NAMES[2:]

    together = weights()
    optimizer = MAKERS[kind](gradient_accumulation_steps=steps)
    train(optimizer, together, early, before)
    carried = carry_optimizer(optimizer, together)
    train(carried, together, NAMES, after)

    alone = weights()
    uninterrupted = MAKERS[kind](gradient_accumulation_steps=steps)
    train(uninterrupted, alone, early, before + after)
    fresh = MAKERS[kind](gradient_accumulation_steps=steps)
    train(fresh, alone, late, after)
    for name, ours, theirs in zip(NAMES, together, alone):
        np.testing.assert_allclose(host(ours), host(theirs), rtol=1e-6, atol=1e-7, err_msg=name)
    assert int(carried.iterations) == int(uninterrupted.iterations)


def test_one_count_for_all_would_be_another_first_step():
    # What the law above guards against: with the others' count of updates the first step is three times too large.
    grads = [dict.fromkeys(NAMES, np.ones((3, 2), "float32"))] * 2 * UPDATES
    variables = weights()
    optimizer = AdamW(0.05, weight_decay=0.0, global_clipnorm=None)
    train(optimizer, variables, NAMES[:2], grads)
    carried = carry_optimizer(optimizer, variables)
    before = host(variables[2])
    train(carried, variables, NAMES, grads[:1])
    np.testing.assert_allclose(before - host(variables[2]), 0.05, rtol=1e-4)
    assert list(host(carried.unfreeze_steps)) == [0, 0, 2 * UPDATES, 2 * UPDATES]


@pytest.mark.parametrize("steps", [None, 3])
def test_state_and_counts_survive_saving(steps):
    def carried():
        variables = weights()
        optimizer = AdamW(0.05, gradient_accumulation_steps=steps)
        train(optimizer, variables, NAMES[:2], gradients(5))
        return variables, carry_optimizer(optimizer, variables)

    variables, optimizer = carried()
    train(optimizer, variables, NAMES, gradients(2))
    store = {}
    optimizer.save_own_variables(store)
    others = weights()
    for one, other in zip(variables, others):
        other.assign(one.value)
    loaded = AdamW(0.05, gradient_accumulation_steps=steps)
    loaded.build(others)
    loaded.load_own_variables(store)
    train(optimizer, variables, NAMES, gradients(3, seed=2))
    train(loaded, others, NAMES, gradients(3, seed=2))
    for one, other in zip(variables, others):
        np.testing.assert_array_equal(host(one), host(other))
    assert host(loaded.unfreeze_steps)[2] == 5 // (steps or 1)


def test_a_traced_step_takes_no_state_in_which_others_joined_late():
    variables = weights()
    optimizer = AdamW(0.05)
    train(optimizer, variables, NAMES[:2], gradients(2))
    store, late = {}, {}
    carried = carry_optimizer(optimizer, variables)
    carried.save_own_variables(late)
    plain = AdamW(0.05)
    plain.build(variables)
    plain.save_own_variables(store)
    step = tf.function(lambda: plain.apply([tf.ones((3, 2))] * 4, variables))
    step()
    plain.load_own_variables(store)
    with pytest.raises(TransformerError, match="joined at other times .* call compile") as caught:
        plain.load_own_variables(late)
    assert "\n" not in str(caught.value) and int(plain.iterations) == 0


def test_who_leaves_is_forgotten():
    variables = weights()
    optimizer = AdamW(0.05)
    train(optimizer, variables, NAMES, gradients(3))
    fewer = carry_optimizer(optimizer, variables[:1])
    assert len(fewer._momentums) == len(fewer._velocities) == 1
    np.testing.assert_array_equal(host(fewer._momentums[0]), host(optimizer._momentums[0]))
    again = carry_optimizer(fewer, variables)
    assert not host(again._momentums[2]).any() and host(again._momentums[0]).any()
    assert list(host(again.unfreeze_steps)) == [0, 3, 3, 3]
    assert len(optimizer._momentums) == 4, "the one given is not changed"


def test_sparse_updates_of_a_table_that_joins_late_and_goes_on():
    def run(sparse_updates):
        draw = np.random.default_rng(0)
        table = keras.Variable(draw.normal(size=(5000, 3)).astype("float32"), name="embeddings")
        other = keras.Variable(np.ones(2, "float32"), name="kernel")

        def grads():
            rows = tf.constant(draw.integers(0, 60, 9))
            values = tf.constant(draw.normal(size=(9, 3)).astype("float32"))
            return tf.IndexedSlices(values, rows, tf.constant([5000, 3]))

        optimizer = AdamW(0.01, weight_decay=0.1, sparse_updates=sparse_updates)
        optimizer.apply_gradients([(tf.ones(2), other)])
        for variables in ([table, other], [other, table]):
            optimizer = carry_optimizer(optimizer, variables)
            for _ in range(3):
                optimizer.apply_gradients([(grads(), table), (tf.ones(2), other)])
        return table, optimizer

    (expected, _), (table, optimizer) = run(False), run(True)
    np.testing.assert_allclose(host(table), host(expected), rtol=4e-7, atol=2e-7)
    assert 10 < host(optimizer._touched[1]).sum() <= 54 and list(host(optimizer.unfreeze_steps)) == [0, 1]


def test_the_schedule_goes_on_and_settings_stay():
    variables = weights()
    optimizer = AdamW(LinearSchedule(1.0, warmup=0), weight_decay=0.3, beta_1=0.8, no_decay="early_0/kernel")
    optimizer.exclude_from_weight_decay(var_list=[variables[1]])
    optimizer.build(variables)
    optimizer.bind_schedule(10)
    train(optimizer, variables, NAMES, gradients(4))
    carried = carry_optimizer(optimizer, variables)
    assert float(carried.learning_rate) == pytest.approx(float(optimizer.learning_rate)) == pytest.approx(0.6)
    assert carried._learning_rate is optimizer._learning_rate and carried.beta_1 == 0.8
    assert carried._decayed == (False, False, True, True)
    assert carried.get_config() == optimizer.get_config()


def test_a_rate_that_was_set_stays_set():
    optimizer = SGD(0.5)
    optimizer.learning_rate = 0.125
    assert float(carry_optimizer(optimizer, weights()).learning_rate) == 0.125


def test_inside_the_loss_scale():
    variables = weights()
    optimizer = keras.optimizers.LossScaleOptimizer(AdamW(0.05), initial_scale=64.0)
    optimizer.build(variables[:2])
    optimizer.dynamic_scale.assign(16.0)
    train(optimizer, variables, NAMES[:2], gradients(3))
    carried = carry_optimizer(optimizer, variables)
    assert float(carried.dynamic_scale) == 16.0 and int(carried.step_counter) == 3
    assert list(host(carried.inner_optimizer.unfreeze_steps)) == [0, 0, 3, 3]
    train(carried, variables, NAMES, gradients(1))


def test_a_pattern_may_be_for_weights_that_come_later():
    variables = weights()
    optimizer = AdamW(0.05, rate_multipliers={"late_0/.*": 3.0}, no_decay="late_1/.*")
    first = carry_optimizer(optimizer, variables[:2], later=variables)
    assert first._rate_factors == (1.0, 1.0)
    second = carry_optimizer(first, variables, later=variables)
    assert second._rate_factors == (1.0, 1.0, 3.0, 1.0) and second._decayed[3] is False
    with pytest.raises(TransformerError, match="matches none of the 2 trained weights"):
        carry_optimizer(optimizer, variables[:2])


def test_other_optimizers_are_refused():
    with pytest.raises(TransformerError, match="need tftransformer's AdamW or SGD, .*; got Adam") as caught:
        carry_optimizer(keras.optimizers.Adam(), weights())
    assert "\n" not in str(caught.value)
