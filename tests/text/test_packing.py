"""Packing against Hugging Face's, and its own rules."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tftransformer.errors import TransformerError
from tftransformer.text.packing import pack, trimmed_lengths

GOLDENS = json.loads(Path(__file__).with_name("goldens.json").read_text())["packed"]
IDS = dict(start_id=2, separator_id=3, pad_id=0)


def rows(*lengths, token):
    return tf.RaggedTensor.from_row_lengths(tf.fill([sum(lengths)], token), list(lengths))


@pytest.mark.parametrize("sequence_length", sorted({golden[0] for golden in GOLDENS}))
def test_pairs_are_trimmed_as_by_hugging_face(sequence_length):
    chosen = [golden for golden in GOLDENS if golden[0] == sequence_length]
    a, b = GOLDENS[-1][3][1], GOLDENS[-1][3][-2]
    packed = pack(
        rows(*(g[1] for g in chosen), token=a),
        rows(*(g[2] for g in chosen), token=b),
        sequence_length=sequence_length,
        **IDS,
    )
    for i, (_, _, _, ids, seconds) in enumerate(chosen):
        real = packed["padding_mask"][i].numpy() == 1
        assert packed["token_ids"][i].numpy()[real].tolist() == ids
        assert int(packed["segment_ids"][i].numpy().sum()) == seconds
        assert packed["segment_ids"][i].numpy()[real].tolist() == [0] * (len(ids) - seconds) + [1] * seconds


def test_single_texts():
    texts = tf.ragged.constant([[7, 8, 9, 10], [], [5]], dtype=tf.int32)
    packed = pack(texts, sequence_length=5, **IDS)
    np.testing.assert_array_equal(packed["token_ids"], [[2, 7, 8, 9, 3], [2, 3, 0, 0, 0], [2, 5, 3, 0, 0]])
    np.testing.assert_array_equal(packed["padding_mask"], [[1] * 5, [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]])
    np.testing.assert_array_equal(packed["segment_ids"], np.zeros((3, 5)))
    assert all(value.dtype == tf.int32 for value in packed.values())


def test_pads_to_the_longest_row_or_to_a_length():
    texts = tf.ragged.constant([[7], []], dtype=tf.int32)
    assert pack(texts, sequence_length=9, **IDS)["token_ids"].shape == (2, 3)
    fixed = pack(texts, sequence_length=9, length=12, **IDS)
    assert fixed["token_ids"].shape == (2, 12)
    assert {value.shape[1] for value in fixed.values()} == {12}
    assert int(tf.reduce_sum(fixed["padding_mask"])) == 5


def test_padding_is_known_by_position_not_by_id():
    packed = pack(tf.ragged.constant([[0, 0], [1]], dtype=tf.int32), sequence_length=8, **IDS)
    np.testing.assert_array_equal(packed["padding_mask"], [[1, 1, 1, 1], [1, 1, 1, 0]])


def test_special_tokens_inside_a_text_do_not_move_the_segments():
    packed = pack(
        tf.ragged.constant([[3, 3]], dtype=tf.int32),
        tf.ragged.constant([[3]], dtype=tf.int32),
        sequence_length=9,
        **IDS,
    )
    assert packed["segment_ids"].numpy().tolist() == [[0, 0, 0, 0, 1, 1]]


def test_empty_batch():
    none = tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.int32), tf.zeros([0], tf.int64))
    assert pack(none, none, sequence_length=4, length=4, **IDS)["token_ids"].shape == (0, 4)
    assert pack(none, sequence_length=4, **IDS)["token_ids"].shape[0] == 0


def test_static_length_in_a_graph_with_unknown_batch():
    signature = [tf.RaggedTensorSpec([None, None], tf.int32)]
    graph = tf.function(lambda x: pack(x, sequence_length=4, length=6, **IDS), input_signature=signature)
    shapes = {key: value.shape.as_list() for key, value in graph.get_concrete_function().structured_outputs.items()}
    assert shapes == dict.fromkeys(("token_ids", "segment_ids", "padding_mask"), [None, 6])


@pytest.mark.parametrize("room", [0, 1, 4, 7])
def test_trimming_law(room):
    """Both fit, nothing is cut without need, and no longer text ends up shorter than the other."""
    first, second = (grid.reshape(-1) for grid in np.meshgrid(np.arange(10), np.arange(10)))
    a, b = (kept.numpy() for kept in trimmed_lengths(tf.constant(first, tf.int32), tf.constant(second, tf.int32), room))
    np.testing.assert_array_equal(a + b, np.minimum(first + second, room))
    assert np.all((a >= b) | (first <= second)) and np.all((b >= a) | (second <= first))


def test_wrong_lengths():
    texts = tf.ragged.constant([[7]], dtype=tf.int32)
    with pytest.raises(TransformerError, match="sequence_length must be at least 2, the special tokens; got 1"):
        pack(texts, sequence_length=1, **IDS)
    with pytest.raises(TransformerError, match="sequence_length must be at least 3, the special tokens; got 2"):
        pack(texts, texts, sequence_length=2, **IDS)
    with pytest.raises(TransformerError, match=r"length must be at least sequence_length \(8\); got 7"):
        pack(texts, sequence_length=8, length=7, **IDS)


@pytest.mark.live
def test_packing_live():
    pytest.importorskip("transformers")
    import tokenizer_cases as cases
    import tokenizer_reference as reference

    vocabulary = cases.vocabulary()
    tokenizer, token = reference.bert_tokenizer(vocabulary), vocabulary.index("a")
    firsts, seconds = [n for n in range(12) for _ in range(12)], list(range(12)) * 12
    a, b = rows(*firsts, token=token), rows(*seconds, token=token)
    texts, others = ["a " * n for n in firsts], ["a " * n for n in seconds]
    names = {"token_ids": "input_ids", "segment_ids": "token_type_ids", "padding_mask": "attention_mask"}
    for sequence_length in range(3, 16):
        for ours, theirs in (
            (
                pack(a, sequence_length=sequence_length, **IDS),
                tokenizer(texts, max_length=sequence_length, truncation=True, padding=True),
            ),
            (
                pack(a, b, sequence_length=sequence_length, **IDS),
                tokenizer(texts, others, max_length=sequence_length, truncation="longest_first", padding=True),
            ),
        ):
            for name, their_name in names.items():
                np.testing.assert_array_equal(ours[name], theirs[their_name])
