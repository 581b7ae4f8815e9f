"""Batches from shards: every word once an epoch, the same from any position, words of two tokenizers matched."""

import dataclasses
import itertools

import numpy as np
import pytest

from tftransformer.data import shard_batches
from tftransformer.data.shard_batches import Position, ShardBatches, count_places, mask_whole_words
from tftransformer.data.shards import open_shards
from tftransformer.errors import TransformerError


@pytest.fixture(scope="module")
def shards(shard_folder):
    return open_shards(shard_folder)


def epoch_of(batches, epoch=0):
    return [b for b, p in itertools.takewhile(lambda x: x[1].epoch == epoch, batches.stream(Position(epoch)))]


@pytest.mark.parametrize("packed", [False, True])
def test_an_epoch_holds_every_token_once(shards, packed, monkeypatch):
    monkeypatch.setattr(shard_batches, "CHUNK_TOKENS", 64)  # several windows
    batches = ShardBatches(shards, sequence_length=16, batch_size=4, packed=packed)
    seen = [b["token_ids"][(b["padding_mask"] == 1) & (b["token_ids"] > 4)] for b in epoch_of(batches)]
    assert sorted(np.concatenate(seen).tolist()) == sorted(shards.parts["train"].tokens.tolist())
    orders = [np.concatenate([b["token_ids"].ravel() for b in epoch_of(batches, e)]) for e in (0, 1)]
    assert orders[0].tolist() != orders[1].tolist()


@pytest.mark.parametrize("packed", [False, True])
def test_a_stream_goes_on_from_any_position_exactly(shards, packed, monkeypatch):
    monkeypatch.setattr(shard_batches, "CHUNK_TOKENS", 64)
    batches = ShardBatches(shards, sequence_length=16, batch_size=4, packed=packed, mask_rate=0.2)
    straight = list(itertools.islice(batches.stream(), 80))
    assert straight[-1][1].epoch > 0 and straight[-1][1].window > 0
    for at in (0, 7, 33, 60):
        for (batch, position), (again, after) in zip(straight[at + 1 :], batches.stream(straight[at][1]), strict=False):
            assert position == after
            for name, array in batch.items():
                np.testing.assert_array_equal(array, again[name])


def test_all_packed_batches_have_one_shape_and_are_full(shards):
    batches = epoch_of(ShardBatches(shards, sequence_length=16, batch_size=4, packed=True, mask_rate=0.2))
    assert {tuple((n, a.shape) for n, a in b.items()) for b in batches} == {
        tuple((n, a.shape) for n, a in batches[0].items())
    }
    assert np.mean([b["padding_mask"].mean() for b in batches[:-1]]) > 0.8


def test_words_of_student_and_teacher_have_the_same_numbers(shards):
    for batch in epoch_of(ShardBatches(shards, sequence_length=16, batch_size=4, teacher=True)):
        assert batch["words"].max(axis=1).tolist() == batch["teacher_words"].max(axis=1).tolist()
        assert ((batch["words"] >= 0) == (batch["padding_mask"] == 1)).all()


def test_held_out_batches_are_the_same_in_every_run(shards):
    one, two = (ShardBatches(shards, "heldout", sequence_length=16, batch_size=4).first(3) for _ in range(2))
    assert [b["token_ids"].tolist() for b in one] == [b["token_ids"].tolist() for b in two]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequence_length": 7}, "sequence_length must be at least 8; got 7"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"teacher": True, "packed": True}, "must not be packed"),
    ],
)
def test_batches_refuse(shards, arguments, message):
    with pytest.raises(TransformerError, match=message):
        ShardBatches(shards, **arguments)


def test_shards_without_a_teacher_say_so(shards):
    with pytest.raises(TransformerError, match="hold no teacher's ids: prepare them with --teacher"):
        ShardBatches(dataclasses.replace(shards, teacher_tokenizer=None), teacher=True)


def test_texts_of_which_nothing_fits_end_in_an_error_instead_of_a_search(shards, monkeypatch):
    batches = ShardBatches(shards, sequence_length=16)
    monkeypatch.setattr(shard_batches, "cut_rows", lambda *_: np.zeros((0, 2), "int64"))
    for use in (lambda: next(batches.stream()), lambda: batches.first(1)):
        with pytest.raises(TransformerError, match="at 16 none of the part train fits"):
            use()


def test_rows_end_with_sentences_where_they_can():
    words = shard_batches.Side(np.arange(40, dtype="int32"), np.arange(41))
    texts = shard_batches.Documents((words,), np.array([6, 12, 30, 40]), np.array([40]))
    rows = shard_batches.cut_rows(texts, 14, None, np.random.default_rng(0))
    assert rows.tolist() == [[0, 12], [12, 26], [26, 40]]
    # A word that is too long for any row is left out.
    long = shard_batches.Documents(
        (shard_batches.Side(np.arange(22), np.array([0, 1, 21, 22])),), np.array([3]), np.array([3])
    )
    assert shard_batches.cut_rows(long, 14, None, np.random.default_rng(0)).tolist() == [[0, 1], [2, 3]]


def test_hidden_places_point_at_what_was_hidden():
    draw = np.random.default_rng(0)
    ids = draw.integers(5, 50, (6, 16)).astype("int32")
    words = np.tile(np.arange(16, dtype="int32"), (6, 1))
    places = count_places(ids.size, 0.15)
    batch = mask_whole_words({"token_ids": ids, "words": words}, draw, (0, 1, 2, 3, 4), 50, 0.15)
    used = batch["mask_weights"] == 1
    assert 0 < used.sum() <= places == len(used)
    assert (ids.ravel()[batch["mask_places"][used]] == batch["mask_targets"][used]).all()
    changed = np.flatnonzero(batch["token_ids"].ravel() != ids.ravel())
    assert set(changed) <= set(batch["mask_places"][used])
    few = mask_whole_words({"token_ids": ids, "words": words}, draw, (0, 1, 2, 3, 4), 50, 0.9, 8)
    assert few["mask_weights"].tolist() == [1.0] * 8
