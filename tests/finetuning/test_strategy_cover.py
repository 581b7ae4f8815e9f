"""Every strategy with every kind of labels: it trains, is saved, reloaded and exported, and stays what it was.

By default each strategy that puts something in or trains in a way of its own meets one kind of labels, and each kind
several strategies, without tracing; the rest is `slow`. So are the tables of all strategies, a table for each kind.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.data.split import Split
from tftransformer.finetuning.methods import METHODS
from tftransformer.finetuning.strategy import parse_strategy
from tftransformer.patterns import addresses
from tftransformer.runs.strategy_comparison import compare_strategies
from tftransformer.tasks.text_classifier import TextClassifier

SMALL = {
    "freeze": "freeze:1", "contrastive": "contrastive:10", "lora": "lora:2", "dora": "dora:2", "adapter": "adapter:3",
    "prefix": "prefix:2",
}  # fmt: skip
LABELS = ("single", "multi", "pairs")
# These choose among the weights that are there, or are a special case of LoRA.
SLOW = {"full", "freeze", "head", "layerwise", "bitfit", "dora", "ia3"}
BY_DEFAULT = {name: LABELS[place % 3] for place, name in enumerate(name for name in METHODS if name not in SLOW)}


def cases():
    for name in METHODS:
        for labels in LABELS:
            marks = () if BY_DEFAULT.get(name) == labels else pytest.mark.slow
            yield pytest.param(SMALL.get(name, name), labels, marks=marks, id=f"{name}-{labels}")


def task(labels, reviews, preset):
    texts, targets = (part[:24] for part in reviews)
    if labels == "pairs":
        texts = list(zip(texts, reversed(texts)))
    if labels == "multi":
        targets = [(target, "long") if len(text.split()) > 4 else (target,) for text, target in zip(texts, targets)]
    keras.utils.set_random_seed(2)
    classifier = TextClassifier.from_preset(
        preset,
        labels=("negative", "positive", "long") if labels == "multi" else ("negative", "positive"),
        multi_label=labels == "multi",
        text_pairs=labels == "pairs",
        sequence_length=16,
    )
    return classifier, texts, targets


def train(classifier, strategy, texts, targets, epochs, **options):
    classifier.apply(strategy)
    classifier.compile(learning_rate=1e-2, schedule="constant", **options)
    base = {name: variable.numpy() for name, variable in addresses(classifier).items()}
    classifier.fit(texts, targets, batch_size=12, epochs=epochs, verbose=0)
    return base


@pytest.mark.parametrize("text, labels", cases())
def test_it_trains_and_is_the_same_when_reloaded(text, labels, reviews, two_block_preset, tmp_path, request):
    whole = bool(list(request.node.iter_markers("slow")))
    classifier, texts, targets = task(labels, reviews, two_block_preset)
    # Unfreezing has two stages at least.
    epochs = 3 if whole else 2 if text == "unfreeze" else 1
    # A graph takes longer to trace than to run here: by default LoRA has one.
    eagerly = not whole and text != SMALL["lora"]
    before = train(classifier, parse_strategy(text), texts, targets, epochs, run_eagerly=eagerly)
    trained = {variable.path for variable in classifier.trainable_variables}
    for name, variable in addresses(classifier).items():
        # What is put in by `fit` itself was not there before.
        changed = name in before and not np.array_equal(variable.numpy(), before[name])
        assert changed <= (variable.path in trained), name
    assert not np.array_equal(classifier.head.logits.kernel.numpy(), before["head/logits/kernel"])
    probabilities = classifier.predict(texts, verbose=0)
    classifier.save_to_preset(tmp_path / "preset")
    again = TextClassifier.from_preset(tmp_path / "preset")
    again.compile(run_eagerly=eagerly)
    np.testing.assert_allclose(again.predict(texts, verbose=0), probabilities, atol=1e-6)
    if not whole:
        return
    classifier.export(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    sides = dict(zip(("text", "text_pair"), zip(*texts))) if labels == "pairs" else {"text": texts}
    answers = served(**{name: tf.constant(list(side)) for name, side in sides.items()})
    np.testing.assert_allclose(answers["probabilities"], probabilities, atol=1e-5)
    classifier.save(tmp_path / "classifier.keras")
    again = keras.saving.load_model(tmp_path / "classifier.keras")
    np.testing.assert_allclose(again.predict(texts, verbose=0), probabilities, atol=1e-6)
    np.testing.assert_array_equal(
        [variable.numpy() for variable in again.optimizer.variables[:1]],
        [variable.numpy() for variable in classifier.optimizer.variables[:1]],
    )


@pytest.mark.slow
@pytest.mark.parametrize("labels", LABELS)
def test_its_table_is_resumed(labels, reviews, two_block_preset, tmp_path):
    _, texts, targets = task(labels, reviews, two_block_preset)
    rows = Split(texts, targets, multi_label=labels == "multi")
    strategies = [SMALL.get(name, name) for name in METHODS]
    interrupted = strategies.index("lora:2")

    class Stop(Exception):
        pass

    def compare(say=lambda line: None):
        return compare_strategies(
            lambda: task(labels, reviews, two_block_preset)[0],
            rows.take(range(16)),
            rows.take(range(16, 24)),
            strategies=strategies,
            train_examples=[8],
            seeds=1,
            updates=4,
            batch_size=4,
            output_dir=tmp_path / "table",
            say=say,
        )

    def stop_at_the_interrupted(line):
        if strategies[interrupted] in line:
            raise Stop

    def kept():
        return {path.name: path.read_bytes() for path in (tmp_path / "table").glob("*seed-0.json")}

    tf.config.run_functions_eagerly(True)
    try:
        with pytest.raises(Stop):
            compare(stop_at_the_interrupted)
        first = kept()
        table = compare()
        assert 0 < len(first) < len(strategies) == len(table.cells) == len(kept())
        assert first.items() <= kept().items()
        # A run that is lost and made again ends where it did: nothing leaks from one strategy into the next.
        again = strategies[0 if labels == "single" else -1 if labels == "multi" else interrupted]
        before = next(cell for cell in table.cells if cell["strategy"] == again)
        next((tmp_path / "table").glob(f"{again.replace(':', '-')}_*seed-0.json")).unlink()
        after = next(cell for cell in compare().cells if cell["strategy"] == again)
        assert after["test"] == pytest.approx(before["test"], rel=1e-4)
    finally:
        tf.config.run_functions_eagerly(False)
