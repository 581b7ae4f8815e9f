"""A preprocessor gives the same tokens to examples, to datasets and inside a graph, and notices pairs."""

import numpy as np
import pytest
import tensorflow as tf

from tftransformer.errors import TransformerError
from tftransformer.objectives import Classification
from tftransformer.preprocessing import ChunkPreprocessor, TextPreprocessor
from tftransformer.text import WordPieceTokenizer

TEXTS = ["good movie", "bad", "a good movie and a bad film " * 9]
OBJECTIVE = Classification(["no", "yes"])


@pytest.fixture
def tokenizer(tiny_vocabulary):
    return WordPieceTokenizer(tiny_vocabulary)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("kind", [TextPreprocessor, lambda *args: ChunkPreprocessor(*args, max_chunks=3)])
def test_examples_datasets_and_graphs_have_the_same_tokens(tokenizer, kind, pairs):
    preprocessor = kind(tokenizer, 16)
    sides = (TEXTS, TEXTS[::-1]) if pairs else (TEXTS,)
    rows = list(zip(*sides, strict=True)) if pairs else TEXTS
    if pairs and isinstance(preprocessor, ChunkPreprocessor):
        with pytest.raises(TransformerError, match="takes single texts; got pairs"):
            preprocessor.examples(rows, objective=OBJECTIVE)
        return
    examples = preprocessor.examples(rows, objective=OBJECTIVE)
    length = int(examples.lengths.max())
    batches = tf.data.Dataset.from_tensors(examples.features(np.arange(len(rows)), length))
    ours = next(iter(preprocessor.network_batches(batches, few_shapes=False)))
    dataset = tf.data.Dataset.from_tensor_slices(
        dict(zip(("text", "text_pair"), sides, strict=True)) if pairs else TEXTS
    )
    streamed = next(iter(preprocessor.stream(dataset.batch(8), 8, OBJECTIVE, few_shapes=False)))
    served = preprocessor.graph(*(tf.constant(side) for side in sides))
    for name, value in served.items():
        width = value.shape[-1]
        np.testing.assert_array_equal(ours[name][..., :width], value, err_msg=name)
        np.testing.assert_array_equal(streamed[name][..., :width], value, err_msg=name)
        if name == "padding_mask":
            assert not np.any(ours[name][..., width:]) and not np.any(streamed[name][..., width:])


def test_training_data_decide_between_texts_and_pairs_and_an_error_takes_it_back(tokenizer):
    preprocessor = TextPreprocessor(tokenizer, 16)
    pairs = preprocessor.examples([("good", "bad")], objective=OBJECTIVE)
    with pytest.raises(ValueError, match="elsewhere"), preprocessor.deciding(pairs):
        assert preprocessor.pairs and preprocessor.names == ("text", "text_pair")
        raise ValueError("elsewhere")
    assert preprocessor.pairs is None and preprocessor.names == ("text",)
    with preprocessor.deciding(pairs):
        pass
    with pytest.raises(TransformerError, match="trained on pairs of texts; got single texts"):
        preprocessor.examples(TEXTS, objective=OBJECTIVE)


def test_examples_are_for_tasks_with_the_same_tokens_and_labels(tokenizer):
    preprocessor = TextPreprocessor(tokenizer, 16)
    examples = preprocessor.examples(TEXTS, ["no", "yes", "no"], objective=OBJECTIVE)
    assert preprocessor.examples(examples, objective=OBJECTIVE) is examples
    for other, objective in ((TextPreprocessor(tokenizer, 8), OBJECTIVE), (preprocessor, Classification(["a", "b"]))):
        with pytest.raises(TransformerError, match="examples must be of this task's preprocess"):
            other.examples(examples, objective=objective)
    again = TextPreprocessor(tokenizer, 8).tokenized_again(examples)
    assert again.targets is None and again.lengths.max() == 8
