"""A dataset's Python functions live as long as the dataset and what is made of it, and no longer."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

from tftransformer.data.dataset_functions import DatasetFunction


class Held(list):
    """What a list is not: something that can be watched."""


def dataset(held):
    source = DatasetFunction(lambda: iter(held))
    made = tf.data.Dataset.from_generator(source, output_signature=tf.TensorSpec([], tf.int64))
    return source, source.until_end_of(made)


def test_it_goes_with_the_last_dataset_that_is_made_of_it():
    held = Held([1, 2, 3])
    watched = weakref.ref(held)
    derived = dataset(held)[1].map(lambda x: x + 1).batch(2).prefetch(1)
    del held
    gc.collect()
    for _ in range(2):
        assert [batch.tolist() for batch in derived.as_numpy_iterator()] == [[2, 3], [4]]
    iterator = iter(derived)
    del derived
    gc.collect()
    assert next(iterator).numpy().tolist() == [2, 3]
    del iterator
    gc.collect()
    assert watched() is None


def test_a_numpy_function_goes_with_its_dataset():
    held = Held([10, 20, 30])
    watched = weakref.ref(held)
    look_up = DatasetFunction(lambda i, rows=held: np.int64(rows[i]))
    numbers = tf.data.Dataset.range(3).map(lambda i: tf.numpy_function(look_up, [i], tf.int64))
    numbers = look_up.until_end_of(numbers)
    assert list(numbers.as_numpy_iterator()) == [10, 20, 30]
    del held, numbers
    gc.collect()
    assert watched() is None


def test_whoever_reads_later_is_told():
    source, made = dataset([1])
    del made
    gc.collect()
    with pytest.raises(RuntimeError, match="the dataset that this function belongs to is gone"):
        source()
