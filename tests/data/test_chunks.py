"""Chunks of documents: together they hold the document, apart they fit, and nothing else is in them."""

import numpy as np
import pytest
import tensorflow as tf

from tftransformer.data.chunks import Chunker
from tftransformer.data.row_packing import Packer
from tftransformer.errors import TransformerError

START, END, PAD = 1, 2, 0


def chunker(sequence_length=8, max_chunks=5, overlap=0):
    return Chunker(sequence_length, max_chunks, START, END, PAD, overlap)


def packed(cut, documents):
    pack = Packer(cut.document_length, START, END, PAD)
    return pack(tf.ragged.constant(documents, dtype=tf.int32, ragged_rank=1))


def rows(chunks):
    """Each document's chunks as lists of tokens, without padding, those that are there."""
    ids, mask = chunks["token_ids"].numpy(), chunks["padding_mask"].numpy()
    return [[ids[b, c, mask[b, c] == 1].tolist() for c in np.flatnonzero(mask[b].any(1))] for b in range(len(ids))]


@pytest.mark.parametrize("few_shapes", [False, True])
@pytest.mark.parametrize("overlap", [0, 1, 5])
def test_chunks_hold_the_document_and_share_the_overlap(overlap, few_shapes):
    cut = chunker(overlap=overlap)
    documents = [list(range(10, 10 + n)) for n in range(cut.document_length + 4)]
    room, found = 6, rows(cut(packed(cut, documents), few_shapes))
    for document, chunks in zip(documents, found, strict=True):
        read = document[: cut.document_length - 2]
        assert all(chunk[0] == START and chunk[-1] == END for chunk in chunks)
        texts = [chunk[1:-1] for chunk in chunks]
        assert max(map(len, texts)) <= room and len(texts) <= 5
        for before, after in zip(texts, texts[1:]):
            assert before[len(before) - overlap :] == after[:overlap]
        assert texts[0] + [token for text in texts[1:] for token in text[overlap:]] == read
        # As few as hold it, and of one length but for a token.
        assert len(texts) == max(1, -((overlap - len(read)) // (room - overlap)))
        assert max(map(len, texts)) - min(map(len, texts)) <= 1


def test_the_longest_document_fills_every_chunk():
    cut = chunker(sequence_length=10, max_chunks=3, overlap=2)
    assert cut.document_length == 3 * 6 + 2 + 2
    (chunks,) = rows(cut(packed(cut, [list(range(10, 99))])))
    assert [len(chunk) for chunk in chunks] == [10, 10, 10]


def test_a_document_that_fits_is_the_row_a_classifier_would_see():
    cut = chunker()
    chunks = cut(packed(cut, [[7, 8, 9], []]))
    expected = Packer(8, START, END, PAD)(tf.ragged.constant([[7, 8, 9], []], dtype=tf.int32))
    for name, value in expected.items():
        np.testing.assert_array_equal(chunks[name][:, 0], value, err_msg=name)
        assert chunks[name].shape == (2, 1, 5) and chunks[name].dtype == tf.int32


def test_shapes_are_the_smallest_or_decided_by_the_padded_length_alone():
    cut = chunker()
    batch = packed(cut, [list(range(7)), [1]])
    wider = {name: tf.pad(value, [[0, 0], [0, 6]]) for name, value in batch.items()}
    assert cut(wider)["token_ids"].shape == (2, 2, 6)
    assert cut(wider, few_shapes=True)["token_ids"].shape == (2, 3, 8)
    assert rows(cut(wider)) == rows(cut(wider, few_shapes=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(sequence_length=2), "sequence_length must be an integer of at least 3; got 2"),
        (dict(max_chunks=0), "max_chunks must be a positive integer; got 0"),
        (dict(max_chunks=True), "max_chunks must be a positive integer; got True"),
        (dict(overlap=-1), "overlap must be an integer of at least 0; got -1"),
        (dict(overlap=6), "overlap must be at most 5, less than the text of a chunk; got 6"),
    ],
)
def test_wrong_numbers_are_named(options, message):
    with pytest.raises(TransformerError, match=message):
        chunker(**options)
