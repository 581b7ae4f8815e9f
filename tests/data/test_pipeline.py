from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tftransformer.data.buckets import length_buckets
from tftransformer.data.examples import Examples, TokenStore, build_examples
from tftransformer.data.fields import Tokens, Values
from tftransformer.data.pipeline import Epoch, num_batches, ordered_batches, plan_epoch, stream_batches, token_batches
from tftransformer.data.ragged import row_splits
from tftransformer.data.row_packing import packer
from tftransformer.data.stream_labels import stream_encoder
from tftransformer.data.texts import Texts, as_texts
from tftransformer.errors import TransformerError

hypothesis = pytest.importorskip("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies
tf = pytest.importorskip("tensorflow")

SEQUENCE_LENGTH = 12
LENGTHS = st.lists(st.integers(1, SEQUENCE_LENGTH), min_size=1, max_size=70)
# How many of 67,349 film reviews (SST-2) have 3, 4, 5, … word pieces.
FILM_REVIEWS = (
    1978, 5322, 6065, 5345, 4749, 4155, 3713, 3267, 2947, 2650, 2413, 2138, 1950, 1777, 1661, 1515, 1373, 1285,
    1132, 1106, 1046, 909, 820, 806, 733, 692, 628, 538, 491, 442, 448, 400, 337, 304, 286, 242,
    195, 203, 192, 155, 148, 130, 89, 82, 85, 73, 55, 42, 50, 40, 36, 19, 21, 22,
    15, 8, 6, 3, 2, 5, 5, 1, 2, 2
)  # fmt: skip


def tokenize(texts):
    """One token a character: its code point."""
    return tf.strings.unicode_decode(texts, "UTF-8")


SPECIAL = SimpleNamespace(start_id=1, separator_id=2, pad_id=0, pair_separators=1, add_start_token=True)
pack = packer(SPECIAL, SEQUENCE_LENGTH)


def examples_of(lengths, labels=True):
    """Sequence i is i, i, i, … so that a batch says which rows it holds."""
    lengths = np.asarray(lengths, "int64")
    ids, counts = np.repeat(np.arange(len(lengths)), lengths).astype("int32"), lengths.astype("int32")
    targets = Values(np.arange(len(lengths), dtype="int32")) if labels else None
    return Examples({"text": Tokens(ids, row_splits(lengths), counts, counts, pad_id=-1)}, targets)


def film_review_lengths(share):
    """Lengths of short film reviews, from 3 to 66 tokens: a part of the rows, shuffled."""
    counts = np.array(FILM_REVIEWS) // share
    return np.random.default_rng(1).permutation(np.repeat(np.arange(3, 3 + len(counts)), counts))


def padding(lengths, plan):
    """The share of computed tokens that are none."""
    return 1 - lengths.sum() / sum(len(rows) * length for rows, length in plan)


@given(LENGTHS, st.integers(1, 9), st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_holds_every_row_once_in_full_batches(lengths, batch_size, num_buckets, seed):
    lengths = np.array(lengths)
    boundaries = length_buckets(lengths, SEQUENCE_LENGTH, num_buckets) if num_buckets else None
    plan = plan_epoch(lengths, batch_size, boundaries, np.random.default_rng(seed))
    assert sorted(np.concatenate([rows for rows, _ in plan]).tolist()) == list(range(len(lengths)))
    sizes = sorted(len(rows) for rows, _ in plan)
    assert len(plan) == num_batches(len(lengths), batch_size) and all(s == batch_size for s in sizes[1:])
    assert all(lengths[rows].max() <= length for rows, length in plan)
    assert boundaries is None or {length for _, length in plan} <= set(boundaries)
    assert sum(len(rows) * length for rows, length in plan) <= len(lengths) * SEQUENCE_LENGTH


@pytest.mark.parametrize("batch_size", [16, 32])
@pytest.mark.parametrize("share", [1, 8, 32])
def test_little_is_padded_where_any_shape_will_do(batch_size, share):
    lengths = film_review_lengths(share)
    plan = plan_epoch(lengths, batch_size, None, np.random.default_rng(0))
    assert padding(lengths, plan) <= (0.06 if share == 32 else 0.04)


@pytest.mark.parametrize("batch_size", [16, 32])
def test_six_shapes_pad_a_fifth_at_most(batch_size):
    lengths = film_review_lengths(4)
    lengths = lengths[: len(lengths) - len(lengths) % batch_size]
    plan = plan_epoch(lengths, batch_size, length_buckets(lengths, 128), np.random.default_rng(0))
    assert len({(len(rows), length) for rows, length in plan}) <= 6
    assert padding(lengths, plan) <= 0.2


def test_the_last_batch_costs_one_shape():
    lengths = film_review_lengths(4)[:-3]
    plan = plan_epoch(lengths, 16, length_buckets(lengths, 128), np.random.default_rng(0))
    shapes = {(len(rows), length) for rows, length in plan}
    assert len(shapes) <= 7 and len({length for _, length in shapes}) <= 6 and padding(lengths, plan) <= 0.2


@settings(max_examples=8, deadline=None)
@given(LENGTHS, st.integers(1, 9))
def test_same_seed_same_order_and_a_new_one_each_epoch(lengths, batch_size):
    examples = examples_of(lengths)

    def epochs(seed):
        dataset = token_batches(examples, batch_size, boundaries=(4, SEQUENCE_LENGTH), seed=seed)
        return [[y.tolist() for _, y in dataset.as_numpy_iterator()] for _ in range(2)]

    first, second = epochs(1)
    assert [first, second] == epochs(1)
    assert sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(len(lengths)))


def test_an_epoch_number_from_outside_decides_the_order():
    examples, epoch = examples_of([3] * 40), Epoch()
    dataset = token_batches(examples, 8, epoch=epoch)

    def order():
        return np.concatenate([y for _, y in dataset.as_numpy_iterator()]).tolist()

    zero = order()
    assert order() == zero
    epoch.number = 1
    assert order() != zero
    first_of = [next(iter(token_batches(examples, 8, seed=seed)))[1].numpy().tolist() for seed in (0, 1)]
    assert first_of[0] == zero[:8] != first_of[1]
    counted = token_batches(examples, 8)
    list(counted)
    assert np.concatenate([y for _, y in counted.as_numpy_iterator()]).tolist() == order()


def test_batches_carry_the_rows_they_say():
    lengths = [3, 12, 1, 7, 5, 5, 2]
    dataset = token_batches(examples_of(lengths), 2, boundaries=(5, 8, 12))
    assert int(dataset.cardinality()) == 4
    for x, y in dataset.as_numpy_iterator():
        for row, i in enumerate(y):
            real = x["token_ids"][row][: lengths[i]]
            assert (real == i).all() and (x["token_ids"][row][lengths[i] :] == -1).all()
            assert x["padding_mask"][row].sum() == lengths[i] and x["token_ids"].dtype == "int32"
        assert x["token_ids"].shape[1] in (5, 8, 12)


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.tuples(st.text("abc", max_size=9), st.text("xyz", max_size=9)), min_size=1, max_size=40),
    st.integers(1, 5),
    st.booleans(),
)
def test_batches_are_those_of_the_examples(rows, batch_size, weighted):
    texts = as_texts(rows, sample_weight=range(1, len(rows) + 1) if weighted else None)
    labels = np.eye(3, dtype="float32")[np.arange(len(rows)) % 3]
    examples = build_examples(texts, Values(labels), tokenize=tokenize, pack=pack, pad_id=7)
    plan = plan_epoch(examples.lengths, batch_size, (5, SEQUENCE_LENGTH), np.random.default_rng([3, 0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tftransformer.data.batch_blocks.BLOCK_BATCHES", 3)
        found = list(token_batches(examples, batch_size, boundaries=(5, SEQUENCE_LENGTH), seed=3).as_numpy_iterator())
    assert len(found) == len(plan)
    for batch, (chunk, length) in zip(found, plan, strict=True):
        expected = examples.batch(chunk, length)
        assert len(batch) == len(expected) == 2 + weighted
        for one, other in zip(tf.nest.flatten(batch), tf.nest.flatten(expected), strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype


@pytest.mark.parametrize("weighted", [False, True])
def test_a_few_batches_that_lie_ready_are_those_that_many_would_be(weighted, monkeypatch):
    texts = as_texts([("ab", "x"), ("abc", "yyy"), ("", "z")], sample_weight=range(3) if weighted else None)
    labels = np.eye(3, dtype="float32") if weighted else np.arange(3, dtype="int32")
    examples = build_examples(texts, Values(labels), tokenize=tokenize, pack=pack, pad_id=7)

    def ways():
        for batch_size in (2, 3):
            yield ordered_batches(examples, batch_size)[0]
            yield token_batches(examples, batch_size, boundaries=(5, SEQUENCE_LENGTH), shuffle=False)

    few = list(ways())
    monkeypatch.setattr("tftransformer.data.batch_blocks.FEW_BATCHES", 0)
    for one, other in zip(few, ways(), strict=True):
        assert one.element_spec == other.element_spec and one.cardinality() == other.cardinality()
        for _ in range(2):
            for ours, theirs in zip(one, other, strict=True):
                tf.nest.map_structure(np.testing.assert_array_equal, ours, theirs)


def test_a_single_text_traces_nothing_for_its_batch(monkeypatch):
    examples = examples_of([3])
    ordered_batches(examples, 8)

    def traced(*_, **__):
        raise AssertionError("a function was made")

    for name in ("map", "flat_map", "from_generator", "prefetch"):
        monkeypatch.setattr(tf.data.Dataset, name, traced)
    (batch,) = ordered_batches(examples, 8)[0]
    assert batch[0]["token_ids"].shape == (1, 3)


def test_order_is_kept_without_shuffling():
    dataset = token_batches(examples_of([3, 12, 1, 7, 5]), 2, shuffle=False)
    assert [y.tolist() for _, y in dataset.as_numpy_iterator()] == [[0, 1], [2, 3], [4]]
    assert dataset.element_spec[1].shape.as_list() == [None]
    assert token_batches(examples_of([3, 4]), 2).element_spec[1].shape.as_list() == [2]


@settings(max_examples=8, deadline=None)
@given(LENGTHS, st.integers(1, 9), st.booleans())
def test_ordered_batches_can_be_put_back(lengths, batch_size, bucketed):
    boundaries = (4, SEQUENCE_LENGTH) if bucketed else None
    dataset, inverse = ordered_batches(examples_of(lengths, False), batch_size, boundaries=boundaries)
    outputs = np.concatenate([x["token_ids"][:, 0] for x in dataset.as_numpy_iterator()])
    assert outputs[inverse].tolist() == list(range(len(lengths)))
    assert int(dataset.cardinality()) == num_batches(len(lengths), batch_size)


def test_bad_arguments():
    with pytest.raises(TransformerError, match="^batch_size must be at least 1; got 0$"):
        token_batches(examples_of([3]), 0)
    with pytest.raises(TransformerError, match="^there are no examples"):
        token_batches(examples_of([]), 4)
    with pytest.raises(TransformerError, match="^there are no examples"):
        ordered_batches(examples_of([]), 4)
    with pytest.raises(TransformerError, match="longest row, 9 tokens; the last is 8"):
        token_batches(examples_of([9]), 4, boundaries=(4, 8))
    with pytest.raises(TransformerError, match="^sequence_length must be at least 2, the special tokens; got 1$"):
        build_examples(Texts(["a"] * 500), tokenize=tokenize, pack=replace(pack, sequence_length=1))
    with pytest.raises(TransformerError, match="^targets must be as many as texts, 2; got 1$"):
        build_examples(Texts(["a", "b"]), Values(np.array([0])), tokenize=tokenize, pack=pack)


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.tuples(st.text("abé ", max_size=20), st.text("xyz", max_size=20)), min_size=1, max_size=8),
    st.booleans(),
    st.integers(1, 2),
    st.integers(4, 40),
)
def test_examples_hold_what_packing_gives(rows, pair, separators, sequence_length):
    packing = replace(pack, sequence_length=sequence_length, pair_separators=separators)
    texts = Texts([a for a, _ in rows], [b for _, b in rows] if pair else None)
    examples = build_examples(texts, tokenize=tokenize, pack=packing)
    sides = [texts.first, texts.second] if pair else [texts.first]
    expected = packing(*[tokenize(tf.constant(side)) for side in sides])
    features = examples.features(np.arange(len(rows)), expected["token_ids"].shape[1])
    for key, value in expected.items():
        np.testing.assert_array_equal(features[key], value, key)
    full = [len(a) + (len(b) + 2 + separators if pair else 2) for a, b in rows]
    assert examples.tokens.full_lengths.tolist() == full and len(examples) == len(rows)


def test_taking_rows_of_examples():
    texts = as_texts([("abc", "d"), ("", "ef"), ("g", "")], sample_weight=[1, 2, 3])
    examples = build_examples(texts, Values(np.array([5, 6, 7], "int32")), tokenize=tokenize, pack=pack)
    part = examples.take([2, 0])
    x, y, weights = part.batch(np.arange(2), 8)
    whole = examples.features(np.array([2, 0]), 8)
    assert all((x[key] == whole[key]).all() for key in x)
    assert y.tolist() == [7, 5] and weights.tolist() == [3.0, 1.0]
    assert len(build_examples(Texts([]), tokenize=tokenize, pack=pack)) == 0


def test_many_chunks_are_the_same_as_one(monkeypatch):
    texts = ["x" * (i % 7) + "y" * (i % 3) for i in range(500)] + ["z" * 50] + ["", "a"]
    whole = build_examples(Texts(texts), tokenize=tokenize, pack=pack)
    seen = []

    def watched(batch):
        seen.append(batch.numpy().tolist())
        return tokenize(batch)

    monkeypatch.setattr("tftransformer.data.examples.CHUNK_TEXTS", 40)
    monkeypatch.setattr("tftransformer.data.examples.CHUNK_CHARACTERS", 49)
    parts = build_examples(Texts(texts), tokenize=watched, pack=pack)
    for name in ("token_ids", "row_splits", "boundaries", "full_lengths"):
        np.testing.assert_array_equal(getattr(parts.tokens, name), getattr(whole.tokens, name))
        assert getattr(parts.tokens, name).dtype == getattr(whole.tokens, name).dtype
    assert len(seen) > 20 and max(map(len, seen)) <= 40
    assert all(len(chunk) == 1 or sum(map(len, chunk)) <= 49 for chunk in seen)


def test_large_corpora_lie_in_a_file(monkeypatch):
    texts = ["x" * (i % 7) for i in range(200)]
    whole = build_examples(Texts(texts), tokenize=tokenize, pack=pack)
    monkeypatch.setattr("tftransformer.data.examples.CHUNK_TEXTS", 30)
    monkeypatch.setattr("tftransformer.data.examples.TokenStore", lambda: TokenStore(in_memory=100))
    spilled = build_examples(Texts(texts), tokenize=tokenize, pack=pack)
    assert isinstance(spilled.tokens.token_ids.base, np.memmap) and type(whole.tokens.token_ids.base) is not np.memmap
    np.testing.assert_array_equal(spilled.tokens.token_ids, whole.tokens.token_ids)
    batches = zip(ordered_batches(spilled, 8)[0].as_numpy_iterator(), ordered_batches(whole, 8)[0].as_numpy_iterator())
    assert all((a[key] == b[key]).all() for a, b in batches for key in a)


def test_streams_keep_order_and_batches():
    texts, labels = ["a" * i for i in range(9)], ["x", "y", "x"] * 3
    rows = tf.data.Dataset.from_tensor_slices((texts, labels, np.ones(9, "float32")))
    arguments = {"tokenize": tokenize, "pack": pack, "sequence_length": SEQUENCE_LENGTH}
    arguments["encode_labels"] = stream_encoder(["x", "y"])
    for dataset, sizes in ((rows, [4, 4, 1]), (rows.batch(3), [3, 3, 3])):
        batches = list(stream_batches(dataset, 4, lengths=(4, 8, 64), **arguments).as_numpy_iterator())
        assert [len(y) for _, y, _ in batches] == sizes
        assert np.concatenate([y for _, y, _ in batches]).tolist() == [0, 1, 0] * 3
        assert np.concatenate([x["padding_mask"].sum(1) for x, _, _ in batches]).tolist() == list(range(2, 11))
        assert {x["token_ids"].shape[1] for x, _, _ in batches} <= {4, 8, SEQUENCE_LENGTH}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"y must hold labels among x, y, .*\[z\]"):
        list(stream_batches(tf.data.Dataset.from_tensor_slices((["a"], ["z"])), 4, **arguments))
    with pytest.raises(TransformerError, match="batch_size must be at least 1"):
        stream_batches(rows, 0, **arguments)


@pytest.mark.slow
def test_streams_of_pairs_and_of_texts_alone():
    arguments = {"tokenize": tokenize, "pack": pack, "sequence_length": SEQUENCE_LENGTH}
    keyed = tf.data.Dataset.from_tensor_slices({"text": ["ab", "c"], "text_pair": ["d", ""]})
    nested = tf.data.Dataset.from_tensor_slices(((["ab", "c"], ["d", ""]), [0, 1]))
    for dataset in (keyed, keyed.batch(2), nested):
        batch = next(iter(stream_batches(dataset, 2, **arguments)))
        x = batch[0] if isinstance(batch, tuple) else batch
        assert x["segment_ids"].numpy()[:, :6].tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 0, 0]]
    alone = stream_batches(tf.data.Dataset.from_tensor_slices(["ab", "c"]), 2, **arguments)
    assert next(iter(alone))["token_ids"].shape == (2, SEQUENCE_LENGTH)


def test_keras_trains_on_them():
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.data feeds the TensorFlow backend here")
    texts = Texts([("good " if i % 2 else "bad ") * (1 + i % 3) for i in range(30)])
    labels = np.arange(30, dtype="int32") % 2
    examples = build_examples(texts, Values(labels), tokenize=tokenize, pack=pack)
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    mask = keras.Input((None,), dtype="int32", name="padding_mask")
    hidden = keras.layers.Embedding(128, 4)(ids) * keras.ops.cast(mask, "float32")[..., None]
    inputs = {"token_ids": ids, "padding_mask": mask}
    outputs = keras.layers.Dense(2)(keras.ops.sum(hidden, axis=1))
    model = keras.Model(inputs, outputs)
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)

    def chosen(*batch):
        return ({k: batch[0][k] for k in inputs}, *batch[1:])

    history = model.fit(token_batches(examples, 8, boundaries=(8, 12)).map(chosen), epochs=2, verbose=0)
    assert history.params["steps"] == 4
    dataset, inverse = ordered_batches(examples, 8)
    outputs = model.predict(dataset.map(chosen), verbose=0)[inverse]
    x = examples.features(np.arange(30), SEQUENCE_LENGTH)
    np.testing.assert_allclose(outputs, model.predict_on_batch({k: x[k] for k in inputs}), atol=1e-6)


@pytest.mark.parametrize("make", (token_batches, lambda e, n: ordered_batches(e, n)[0]))
def test_no_tuning_thread_that_the_end_of_an_epoch_would_wait_for(make):
    assert make(examples_of([3, 4, 5]), 2).options().autotune.enabled is False


@pytest.mark.parametrize("chosen", (None, True, False))
def test_tuning_of_a_users_dataset_is_off_unless_the_user_chose(chosen):
    source = tf.data.Dataset.from_tensor_slices((["ab", "c"], [0, 1]))
    if chosen is not None:
        options = tf.data.Options()
        options.autotune.enabled = chosen
        source = source.with_options(options)
    batches = stream_batches(source, 2, tokenize=tokenize, pack=pack, sequence_length=SEQUENCE_LENGTH)
    assert batches.options().autotune.enabled is bool(chosen)
