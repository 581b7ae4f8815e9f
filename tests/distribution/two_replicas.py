"""Run by test_mirrored.py in a process of its own: two logical CPUs have to be made before TensorFlow starts.

    python two_replicas.py clipping float16

Trains one small model on one device and the same model on two replicas with the same global batches, and
prints, for every case, the largest difference of a weight and how far the weights moved.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from tftransformer.distribution import build_strategy
from tftransformer.finetuning import SGD, AdamW, BindSchedule, LinearSchedule

ROWS, BATCH = 64, 8


def build_model(optimizer, dtype=None):
    keras.utils.set_random_seed(1)
    ids = keras.Input((4,), dtype="int32")
    # A table, because its gradient is sparse; the second kernel trains at a rate of its own.
    x = keras.layers.Embedding(16, 6, name="embeddings", dtype=dtype)(ids)
    x = keras.layers.Flatten(dtype=dtype)(x)
    x = keras.layers.Dense(8, activation="tanh", name="encoder_block_0", dtype=dtype)(x)
    logits = keras.layers.Dense(3, name="head", dtype=dtype)(x)
    model = keras.Model(ids, keras.layers.Activation("linear", dtype="float32")(logits))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False)
    return model


def data():
    random = np.random.default_rng(0)
    ids = random.integers(0, 16, (ROWS, 4)).astype("int32")
    labels = random.integers(0, 3, (ROWS,)).astype("int32")
    return tf.data.Dataset.from_tensor_slices((ids, labels)).batch(BATCH, drop_remainder=True)


def train(make_optimizer, strategy, dtype=None):
    with strategy.scope():
        model = build_model(make_optimizer(), dtype)
        start = [np.array(weight) for weight in model.get_weights()]
        model.fit(data(), epochs=2, shuffle=False, verbose=0, callbacks=[BindSchedule()])
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return start, model.get_weights(), int(keras.ops.convert_to_numpy(optimizer.iterations))


def sgd(**options):
    # A head that moves ten times as fast, and a decay that is large enough to be seen.
    return lambda: SGD(0.2, weight_decay=0.1, rate_multipliers={"head/.*": 10.0}, **options)


CASES = {
    "clipping": (sgd(momentum=0.9, global_clipnorm=0.1), {}),
    "clipping and accumulation": (sgd(global_clipnorm=0.1, gradient_accumulation_steps=3), {}),
    "schedule": (lambda: AdamW(LinearSchedule(1e-2), epsilon=1e-3, gradient_accumulation_steps=2), {}),
    "average": (sgd(global_clipnorm=0.1, gradient_accumulation_steps=3, average=0.5), {}),
    "float16": (sgd(global_clipnorm=0.1, gradient_accumulation_steps=2), {"dtype": "mixed_float16"}),
    "average in float16": (sgd(global_clipnorm=0.1, average=0.5), {"dtype": "mixed_float16"}),
}


def main():
    devices = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(devices[0], [tf.config.LogicalDeviceConfiguration()] * 2)
    mirrored = build_strategy("mirrored")
    results = {"replicas": mirrored.num_replicas_in_sync}
    for name in sys.argv[1:]:
        make_optimizer, options = CASES[name]
        if options.get("dtype"):
            # The model's own policy decides on the loss scale, and a functional model has the global one.
            keras.config.set_dtype_policy(options["dtype"])
        start, one, updates = train(make_optimizer, build_strategy("default"), **options)
        _, two, updates_two = train(make_optimizer, mirrored, **options)
        keras.config.set_dtype_policy("float32")
        results[name] = {
            "difference": max(float(np.abs(a - b).max()) for a, b in zip(one, two)),
            "movement": min(float(np.abs(a - b).max()) for a, b in zip(one, start)),
            "updates": [updates, updates_two],
        }
    print(json.dumps(results))


if __name__ == "__main__":
    main()
