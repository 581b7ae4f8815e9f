"""keras-hub: its BERT preprocessor inside `tf.data`, in every epoch anew, as `fit` of its classifiers does it."""

from collections.abc import Iterator
from typing import Any

from data_turns import Epoch, Reader, serve_data


def build(settings: dict[str, Any]) -> Reader:
    import keras_hub
    import tensorflow as tf

    tokenizer = keras_hub.models.BertTokenizer(settings["vocabulary"], lowercase=True)
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=settings["length"])

    def reader(texts: list[str], labels: list[int]) -> Epoch:
        rows = tf.data.Dataset.from_tensor_slices((texts, labels)).shuffle(10_000)
        batches = rows.batch(settings["batch_size"]).map(preprocessor, num_parallel_calls=tf.data.AUTOTUNE)
        batches = batches.prefetch(tf.data.AUTOTUNE)

        def epoch() -> Iterator[tuple[int, int, int]]:
            for x, _ in batches:
                mask = x["padding_mask"].numpy()
                yield len(mask), mask.shape[1], int(mask.sum())

        return epoch

    return reader


if __name__ == "__main__":
    serve_data(build)
