"""Training from stored outputs of frozen layers gives what training without them gives, and runs them once."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer import files
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.finetuning import SGD, freeze, unfreeze
from tftransformer.finetuning.activation_cache import ActivationCache, check_activation_cache, choose_activation_cache
from tftransformer.finetuning.activation_store import _own_folder
from tftransformer.finetuning.optimizers import AdamW
from tftransformer.models import build_encoder
from tftransformer.objectives import Classification
from tftransformer.patterns import addresses
from tftransformer.tasks import Network, Task, TextClassifier
from tftransformer.text import WordPieceTokenizer
from tftransformer.training.stored_states import stored_states

LABELS = ("negative", "positive")
# Adam turns the rounding noise of a gradient that is zero into motion.
KEY_BIASES = "attention/key/bias"


def build(
    vocabulary, layers=2, seed=0, dtype=None, pooling="mean", pooler=True, extra_blocks=0, head_dropout=0.0, **settings
):
    """A randomised classifier whose first blocks are frozen; all of them for a number of 3."""
    config = TransformerConfig(
        vocabulary_size=len(vocabulary), num_layers=3, hidden_dim=16, num_heads=2, intermediate_dim=32,
        max_sequence_length=32, dropout=0.0, **settings,
    )  # fmt: skip
    keras.utils.set_random_seed(seed)
    classifier = TextClassifier(
        config, WordPieceTokenizer(vocabulary), LABELS, pooling=pooling, pooler=pooler, extra_blocks=extra_blocks,
        head_dropout=head_dropout, dtype=dtype,
    )  # fmt: skip
    draw = np.random.default_rng(seed)
    for name, variable in addresses(classifier).items():
        variable.assign(draw.normal(1.0 if name.endswith("gamma") else 0.0, 0.2, variable.shape))
    freeze(classifier, layers=layers)
    return classifier


def values(classifier):
    return {name: np.array(variable, "float32") for name, variable in addresses(classifier).items()}


def train(classifier, data, cache, optimizer=None, epochs=3, **options):
    classifier.compile(optimizer or SGD(0.1), **options.pop("compiled", {}))
    before = values(classifier)
    options = {"batch_size": 8, "verbose": 0, **options}
    history = classifier.fit(*data, epochs=epochs, activation_cache=cache, **options)
    after = values(classifier)
    moved = max(np.abs(after[name] - before[name]).max() for name in after)
    return after, moved, history.history


def quiet(**options):
    return ActivationCache(say=lambda line: None, **options)


def difference(one, two, besides=None):
    return max(np.abs(one[name] - two[name]).max() for name in one if not besides or besides not in name)


def pairs(reviews):
    texts, labels = reviews
    return [(a, b) for a, b in zip(texts, texts[::-1])], labels


FROZEN_CLS = {"layers": 3, "pooling": "cls"}
# Without a graph there is less to wait for; the slow cases have one.
CASES = {
    "cls, all frozen, pooler trains": (FROZEN_CLS, {"compiled": {"run_eagerly": True}, "batch_size": 24, "epochs": 2})
}
SLOW_CASES = {
    "in graphs: cls, all frozen, pooler trains": (FROZEN_CLS, {}),
    "cls, class weights, part held out": (
        {"pooling": "cls"},
        {"class_weight": {"negative": 3.0}, "validation_split": 0.3},
    ),
    "mean": ({}, {}),
    "max, all frozen": ({"layers": 3, "pooling": "max"}, {}),
    "cls without pooler, all frozen": ({"layers": 3, "pooling": "cls", "pooler": False}, {}),
    "all frozen, extra block": ({"layers": 3, "pooling": "cls", "extra_blocks": 1}, {}),
    "relative positions, before norms": ({"position": "relative", "normalize_first": True}, {}),
    "all frozen but the last norm": ({"layers": 3, "normalize_first": True}, {}),
    "alibi": ({"position": "alibi"}, {}),
    "shared blocks, all frozen": ({"layers": 1, "num_distinct_blocks": 1}, {}),
    "pairs": ({"pairs": True}, {}),
    "weights of examples": ({}, {"sample_weight": np.linspace(0.1, 2.0, 60)}),
    # XLA compiles anew for each length, of which few large batches have fewer.
    "compiled": ({}, {"compiled": {"jit_compile": True}, "validation_split": 0.2, "batch_size": 24}),
    "compiled, all frozen": ({"layers": 3}, {"compiled": {"jit_compile": True}, "batch_size": 20}),
    "AdamW": ({}, {"optimizer": "AdamW"}),
    "AdamW, all frozen": ({"layers": 3, "pooling": "cls"}, {"optimizer": "AdamW"}),
}


def compare(vocabulary, reviews, folder, case, **more):
    """Weights and histories without the cache and with it, and how far training moved the weights."""
    settings, options = ({**some} for some in {**CASES, **SLOW_CASES}[case])
    settings.update(more)
    data = pairs(reviews) if settings.pop("pairs", False) else reviews
    adam = options.pop("optimizer", None) == "AdamW"
    plain, cache = "off", quiet(folder=folder)
    results = [
        train(build(vocabulary, **settings), data, choice, AdamW(1e-2) if adam else SGD(0.1), **options)
        for choice in (plain, cache)
    ]
    assert cache.computed_rows > 20 and results[0][1] > 1e-2
    return *results, adam


@pytest.mark.parametrize("case", [*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW_CASES)])
def test_trained_weights_are_those_without_the_cache(tiny_vocabulary, reviews, tmp_path, case):
    (plain, _, history), (cached, _, cached_history), adam = compare(tiny_vocabulary, reviews, tmp_path, case)
    if adam:
        assert difference(plain, cached, besides=KEY_BIASES) < 1e-5
    else:
        assert difference(plain, cached) < 1e-6
    assert history.keys() == cached_history.keys()
    for name, row in history.items():
        np.testing.assert_allclose(cached_history[name], row, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["mean", "max, all frozen"])
def test_in_bfloat16_only_its_rounding_is_between_the_two(tiny_vocabulary, reviews, tmp_path, case):
    exact = compare(tiny_vocabulary, reviews, tmp_path / "float32", case)[0][0]
    (plain, _, history), (cached, _, cached_history), _ = compare(
        tiny_vocabulary, reviews, tmp_path / "bfloat16", case, dtype="mixed_bfloat16"
    )
    assert difference(plain, cached) < difference(plain, exact)
    np.testing.assert_allclose(cached_history["loss"], history["loss"], rtol=2e-3)


@pytest.mark.slow
def test_dropout_above_the_cut_stays_on(tiny_vocabulary, reviews):
    losses = []
    for dropout in (0.0, 0.5):
        classifier = build(tiny_vocabulary, head_dropout=dropout)
        losses.append(train(classifier, reviews, "auto")[2]["loss"])
    assert np.abs(np.subtract(*losses)).max() > 1e-3


@pytest.fixture(scope="module")
def classifier(tiny_vocabulary):
    return build(tiny_vocabulary)


def computed(cache, classifier, texts, passes=3):
    """How many rows of texts a cache has to compute; None where it declines."""
    before = cache.computed_rows
    states = cache.states(classifier.frozen_part(), [classifier.preprocess(texts)], passes)
    return None if states is None else cache.computed_rows - before


def test_what_is_the_same_is_computed_once_and_what_differs_anew(classifier, reviews, tmp_path):
    texts = [f"{text} {number}" for number, text in enumerate(reviews[0][:20])]
    cache = quiet(folder=tmp_path)
    assert computed(cache, classifier, [*texts[:12], texts[0]]) == 12, "a row that comes twice counts once"
    assert computed(cache, classifier, texts[4:]) == 8, "another fold"
    assert computed(cache, classifier, texts[::-1]) == 0, "another order"
    assert computed(quiet(folder=tmp_path), classifier, texts) == 0, "read from the folder again"
    assert computed(cache, classifier, [texts[0] + " good"]) == 1

    examples = classifier.preprocess(texts)
    object.__setattr__(examples.tokens, "boundaries", examples.tokens.boundaries - 1)
    cache.states(classifier.frozen_part(), [examples], 3)
    assert cache.computed_rows == 41, "the same tokens in other segments"

    weights = addresses(classifier)
    kernel, last = (weights[f"encoder_block_{block}/attention/query/kernel"] for block in (1, 2))
    head = next(weight for name, weight in weights.items() if name.startswith("head/"))
    for weight in (head, last):
        weight.assign(weight + 1e-3)
        assert computed(cache, classifier, texts) == 0, "weights above the cut do not matter"
    kept = np.array(kernel)
    kernel.assign(kept + np.eye(16) * 1e-6)
    assert computed(cache, classifier, texts) == 20
    kernel.assign(kept)
    assert computed(cache, classifier, texts) == 0
    freeze(classifier, layers=3)
    assert computed(cache, classifier, texts) == 20, "another cut"
    unfreeze(classifier)
    freeze(classifier, layers=2)
    assert computed(cache, classifier, texts) == 0
    assert computed(ActivationCache(tmp_path, dtype="bfloat16", say=str), classifier, texts) == 20


def test_rows_of_another_length_are_other_rows(tiny_vocabulary, reviews):
    classifier, cache = build(tiny_vocabulary), quiet()
    texts = ["good film and bad plot", "good"]
    assert computed(cache, classifier, texts) == 2
    shorter = TextClassifier(
        classifier.config, WordPieceTokenizer(tiny_vocabulary), LABELS, pooling="mean", sequence_length=5
    )
    for name, weight in addresses(classifier).items():
        addresses(shorter)[name].assign(weight)
    freeze(shorter, layers=2)
    assert computed(cache, shorter, texts) == 1, "the long one alone was cut"


def test_it_says_what_it_does_before_it_does_it(classifier, reviews, tmp_path):
    examples = classifier.preprocess(reviews[0][:9])
    lines = []
    cache = ActivationCache(tmp_path, max_bytes=100_000, say=lambda line: lines.append((cache.computed_rows, line)))
    rows = len({tuple(row) for row in examples.features(np.arange(9), 32)["token_ids"].tolist()})
    assert cache.states(classifier.frozen_part(), [examples, examples], 2) is not None
    assert cache.states(classifier.frozen_part(), [examples], 1) is not None
    small = ActivationCache(max_bytes=100, say=lambda line: lines.append((small.computed_rows, line)))
    assert small.states(classifier.frozen_part(), [examples], 2) is None
    (first, ran), (_, found), (none, refused) = lines
    assert (first, cache.computed_rows, none, small.computed_rows) == (0, rows, 0, 0)
    size = int(examples.lengths.sum()) * 16 * 4
    assert (
        ran.startswith("activation cache: embeddings and blocks 0-1 run once over 9 + 9 rows (") and "float32)" in ran
    )
    assert rows < 9 or f"{size / 1e3:.1f} kB" in ran
    assert found == "activation cache: embeddings and blocks 0-1 ran before over all 9 rows; epochs train from there"
    assert refused.startswith("activation cache: off, ") and refused.endswith("on the disk of temporary files")


def test_it_is_left_alone_where_it_does_not_pay(tiny_vocabulary, reviews, tmp_path):
    classifier, (texts, labels), lines = build(tiny_vocabulary), reviews, []
    kept = ActivationCache(tmp_path, say=lines.append)
    passing = ActivationCache(say=lines.append)
    assert computed(passing, classifier, texts, passes=1) is None and not lines
    assert computed(passing, classifier, texts, passes=2)
    assert computed(passing, classifier, texts, passes=1) == 0, "what is there already is used"
    del lines[:]
    rows = tf.data.Dataset.from_tensor_slices((texts[:8], labels[:8]))
    examples = classifier.preprocess(texts[:8])
    for data in (rows, examples):
        for cache in (kept, passing, None):
            assert stored_states(classifier, cache, (data, None), 2, lines.append) is None or data is examples
        unfreeze(classifier)
    assert [line.split(",")[0] for line in lines] == ["activation cache: off"] * 2
    assert "tf.data.Dataset" in lines[0] and "not frozen" in lines[1]
    assert kept.computed_rows == 0 and not list(tmp_path.iterdir())


def test_a_part_that_is_new_is_said_to_be(classifier):
    lines = []
    cache = ActivationCache(say=lines.append)
    cache.states(classifier.frozen_part(), [classifier.preprocess(["good plot 17"])], 2)
    cache.states(classifier.frozen_part(), [classifier.preprocess(["good plot 17", "bad plot 17"])], 2)
    assert "run over 1 rows that are new (" in lines[-1]


class Own(Network):
    pooling = "first"

    def __init__(self, config, dtype=None):
        self.config, self.encoder = config, build_encoder(config, dtype=dtype)

    @property
    def layers(self):
        return {"encoder": self.encoder}

    def __call__(self, inputs, training=None):
        return self.encoder({name: inputs[name] for name in self.encoder.input}, training=training)[:, 0]


def test_a_network_of_ones_own_is_left_alone(classifier):
    own = Task(classifier.config, classifier.tokenizer, objective=Classification(LABELS), network=Own)
    own.add_head(keras.layers.Dense(2, name="head"))
    freeze(own, layers=2)
    assert own.frozen_part() is None and classifier.frozen_part() is not None
    own.compile(learning_rate=1e-3)
    own.fit(["good", "bad"], list(LABELS), epochs=2, verbose=0)
    assert own.predict(["good"], verbose=0).shape == (1, 2)


def test_a_full_disk_means_training_as_without(classifier, reviews, monkeypatch):
    def add(self, batches):
        next(batches)
        raise TransformerError("cannot write x: No space left on device")

    lines = []
    monkeypatch.setattr("tftransformer.finetuning.activation_store.ActivationStore.add", add)
    assert computed(ActivationCache(say=lines.append), classifier, ["a wholly new text"]) is None
    assert lines[-1] == "activation cache: off, cannot write x: No space left on device"


def test_other_frozen_parts_make_room_in_the_temporary_folder(tiny_vocabulary):
    one, two = build(tiny_vocabulary, seed=5), build(tiny_vocabulary, seed=6)
    text = "good film and bad plot " * 3
    first = quiet()
    assert computed(first, one, [text]) == 1
    limit = sum(path.stat().st_size for path in first.folder.rglob("*") if path.is_file()) + 10
    assert computed(quiet(max_bytes=limit), two, [text]) == 1
    assert computed(first, one, [text]) == 1, "it had to go"


def test_what_killed_processes_left_is_cleared_away_once_it_is_old(classifier, tmp_path):
    assert computed(quiet(folder=tmp_path), classifier, ["good"]) == 1
    (prefix,) = (path for path in tmp_path.iterdir() if path.is_dir())
    for name, hours in (("old", 48), ("new", 0)):
        (prefix / f".shard-{name}.1-aa.partial").mkdir()
        os.utime(prefix / f".shard-{name}.1-aa.partial", times=(time.time() - hours * 3600,) * 2)
    assert computed(quiet(folder=tmp_path), classifier, ["good"]) == 0
    assert [path.name for path in prefix.glob(".*")] == [".shard-new.1-aa.partial"]


def test_temporary_folders_of_killed_processes_go_with_the_next_process(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("abandoned", "in-use"):
        folder = tmp_path / f"tftransformer-activations-{name}"
        folder.mkdir()
        os.utime(folder, times=(time.time() - 7200,) * 2)
    with files.Lock(tmp_path / "tftransformer-activations-in-use"):
        made = _own_folder.__wrapped__()
    assert {path.name for path in tmp_path.iterdir()} == {"tftransformer-activations-in-use", made.name}


def test_a_temporary_folder_that_was_cleared_away_is_made_anew(classifier, reviews):
    cache = quiet()
    assert computed(cache, classifier, reviews[0][:4]) == 4
    before = cache.folder
    shutil.rmtree(before)
    assert computed(cache, classifier, reviews[0][:4]) == 4
    assert cache.folder != before and cache.folder.is_dir() and not before.exists()
    assert computed(cache, classifier, reviews[0][:4]) == 0


@pytest.mark.parametrize("choice", [None, True, 3, ""])
def test_a_choice_is_a_word_or_a_folder(classifier, choice):
    with pytest.raises(TransformerError, match="^activation_cache must be 'auto', 'off' or a folder; got"):
        classifier.fit(["good"], [0], activation_cache=choice, epochs=1)


def test_arguments_of_a_cache(tmp_path):
    with pytest.raises(TransformerError, match="did you mean 'bfloat16'"):
        ActivationCache(dtype="bfloat61")
    with pytest.raises(TransformerError, match="max_bytes must be at least 0; got -1"):
        ActivationCache(max_bytes=-1)
    with pytest.raises(TransformerError, match="did you mean 'auto'.*a folder: ./atuo"):
        check_activation_cache("atuo")
    check_activation_cache("./atuo")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(TransformerError, match="holds 'notes.txt'"):
        ActivationCache(tmp_path)
    assert choose_activation_cache(str(tmp_path / "new")) is choose_activation_cache(str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_unfreezing_and_freezing_again_between_fits(tiny_vocabulary, reviews, tmp_path):
    results = []
    for cache in ("off", quiet(folder=tmp_path)):
        classifier = build(tiny_vocabulary, layers=3)
        for layers in (3, 1, 0, 2):
            unfreeze(classifier)
            if layers:
                freeze(classifier, layers=layers)
            weights, moved, _ = train(classifier, reviews, cache, epochs=2, validation_split=0.2)
        results.append(weights)
    assert moved > 1e-2 and difference(*results) < 1e-6


@pytest.mark.slow
def test_a_new_process_finds_what_the_last_one_stored(two_block_preset, tmp_path):
    program = """
import sys
from tftransformer.finetuning import ActivationCache, freeze
from tftransformer.tasks import TextClassifier
from tftransformer.training.stored_states import stored_states
classifier = TextClassifier.from_preset(sys.argv[1], labels=["no", "yes"])
freeze(classifier, layers=1)
cache = ActivationCache(sys.argv[2])
classifier.fit(["good", "bad film", "a bad plot"], [1, 0, 0], epochs=1, verbose=0, activation_cache=cache)
print(cache.computed_rows)
"""
    for expected in ("3", "0"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(two_block_preset), str(tmp_path / "cache")], capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.splitlines()[-1] == expected
