"""Packed batches: every token of every text once, where `places` says, and rows that are full."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tftransformer.data.packed_batches import ROW_MULTIPLE, pack_batch, packed_batches


def padded(lengths, seed=0):
    random = np.random.default_rng(seed)
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    ids = np.where(mask, random.integers(5, 99, mask.shape), 0)
    return ids, (mask & (np.arange(mask.shape[1]) > 2)).astype("int64"), mask.astype("int64")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 24), min_size=1, max_size=40))
def test_places_lead_back_to_every_token(lengths):
    ids, segments, mask = padded(lengths)
    batch = pack_batch(ids, segments, mask, capacity=24, pad_id=1)
    for name, values in (("token_ids", ids), ("segment_ids", segments)):
        found = batch[name].reshape(-1)[batch["places"]]
        assert (found[mask == 1] == values[mask == 1]).all()
    positions = batch["position_ids"].reshape(-1)[batch["places"]]
    assert (positions[mask == 1] == np.broadcast_to(np.arange(ids.shape[1]), ids.shape)[mask == 1]).all()
    used = batch["places"][mask == 1]
    assert len(set(used.tolist())) == mask.sum() == (batch["sequence_ids"] > 0).sum()
    assert (batch["token_ids"][batch["sequence_ids"] == 0] == 1).all()
    assert len(batch["token_ids"]) % ROW_MULTIPLE == 0


def test_short_texts_take_few_rows():
    # 64 texts of 8 tokens: 4 rows of 128 instead of 64 rows.
    batch = pack_batch(*padded([8] * 64), capacity=128)
    assert batch["token_ids"].shape == (4, 128) and batch["sequence_ids"].min() == 1


def test_a_dataset_keeps_labels_weights_and_order():
    ids, segments, mask = padded([3, 5, 2, 4])
    x = {
        "token_ids": ids.astype("int32"),
        "segment_ids": segments.astype("int32"),
        "padding_mask": mask.astype("int32"),
    }
    dataset = tf.data.Dataset.from_tensor_slices((x, np.arange(4), np.ones(4))).batch(2)
    rows = list(packed_batches(dataset, 12))
    assert [y.numpy().tolist() for _, y, _ in rows] == [[0, 1], [2, 3]]
    assert all(batch["token_ids"].shape == (4, 12) for batch, _, _ in rows)
    assert rows[0][0]["padding_mask"].numpy().tolist() == mask[:2].tolist()


@pytest.mark.parametrize(("texts", "replicas"), [(9, 2), (1, 2), (5, 4), (8, 3)])
def test_each_replica_finds_its_texts_in_its_rows(texts, replicas):
    ids, segments, mask = padded([3 + i % 7 for i in range(texts)])
    batch = pack_batch(ids, segments, mask, 12, replicas=replicas)
    rows, share = len(batch["token_ids"]) // replicas, -(-texts // replicas)
    for replica in range(replicas):
        own = slice(replica * share, (replica + 1) * share)
        tokens = batch["token_ids"][replica * rows : (replica + 1) * rows].reshape(-1)
        found, real = tokens[batch["places"][own]], mask[own] == 1
        assert (found[real] == ids[own][real]).all()
