"""A folder says what it is: whatever task is saved, `tt.load` gives back, weight by weight and answer by answer."""

import json

import keras
import numpy as np
import pytest

import tftransformer as tt
from tftransformer import tasks
from tftransformer.checkpoints import load_preset, write_preset
from tftransformer.data.pipeline import token_batches
from tftransformer.errors import TransformerError
from tftransformer.patterns import addresses
from tftransformer.tasks.loading import load, saved_class
from tftransformer.tasks.writing import TextWriter

LABELS = ("negative", "positive")
TEXTS = ["a good story", "bad", "the plot was very quick and the music was not slow but this story is dull", ""]
PAIRS = [("a good story", "bad"), ("dull", "slow music")]


@keras.saving.register_keras_serializable(package="tests")
class Renamed(tt.TextClassifier):
    """A user's own class."""


def text(preset):
    return tt.TextClassifier.from_preset(preset, labels=LABELS, sequence_length=12)


def several_labels(preset):
    options = {"multi_label": True, "threshold": 0.3, "extra_blocks": 1, "pooling": "cls", "text_pairs": True}
    return tt.TextClassifier.from_preset(preset, labels=("x", "y", "z"), head_dropout=0.2, **options)


def with_lora(preset):
    classifier = text(preset)
    classifier.apply(tt.LoRA(rank=2))
    return classifier


def documents(preset):
    options = {"sequence_length": 8, "max_chunks": 3, "overlap": 1}
    return tt.DocumentClassifier.from_preset(preset, labels=LABELS, chunk_blocks=1, **options)


def several_tasks(preset):
    pairs = tt.ClassificationTask(("yes", "no"), text_pairs=True)
    tasks = {"mood": LABELS, "pairs": pairs, "topics": tt.ClassificationTask(("x", "y"), multi_label=True)}
    return tt.MultiTaskClassifier.from_preset(preset, tasks=tasks, sequence_length=12, extra_blocks=1)


def decoding(family, **choices):
    """Config and tokenizer of a task that writes: none of the encoder of the preset is in them."""
    tokenizer = tt.text.train_byte_bpe(TEXTS, 280)
    sizes = {"num_layers": 1, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32, "max_sequence_length": 16}
    config = tt.TransformerConfig(family, vocabulary_size=tokenizer.vocabulary_size, **sizes, **choices)
    return config, tokenizer


def translator(preset):
    return tt.Seq2Seq(*decoding("transformer", share_embeddings=True), sequence_length=8, target_length=12)


def language_model(preset):
    return tt.CausalLM(*decoding("gpt2"), search=tt.models.generation.Greedy(), text_pairs=True)


def numbers(preset):
    scale = {"names": ["a", "b"], "mean": [3.0, 100.0], "scale": [1.5, 20.0], "levels": [1, 3, 5]}
    return tt.TextRegressor.from_preset(preset, sequence_length=12, text_pairs=True, **scale)


def tags(preset):
    return tt.TokenClassifier.from_preset(
        preset, ["NOUN", "VERB", "OTHER"], sequence_length=12, overlap=3, decode="argmax"
    )


def users_own(preset):
    return Renamed.from_preset(preset, labels=LABELS, sequence_length=12)


MAKERS = (
    text,
    several_labels,
    with_lora,
    documents,
    several_tasks,
    numbers,
    tags,
    users_own,
    translator,
    language_model,
)


def shaken(task):
    """With random numbers in every weight, so that nothing is what it starts as."""
    draw = np.random.default_rng(0)
    for name, variable in addresses(task).items():
        centre = 1.0 if name.endswith("gamma") else 0.0
        variable.assign(draw.normal(centre, 0.3, variable.shape))
    task.run_eagerly = True
    return task


def settings(task):
    """All that makes the network; what trains is no part of a preset."""
    return {name: value for name, value in task.get_config().items() if name not in ("frozen", "method_rate")}


def answers(task):
    if isinstance(task, tt.MultiTaskClassifier):
        rows = {name: PAIRS if own.text_pairs else TEXTS for name, own in task.tasks.items()}
        return [task.predict(rows[name], task=name, verbose=0) for name in task.tasks]
    if isinstance(task, tt.TokenClassifier):
        return task.predict([*TEXTS, "a good movie " * 9], verbose=0)
    if isinstance(task, TextWriter):
        x, *_ = next(iter(token_batches(task.preprocess([("a good story", "dull"), ("bad", "")]), 2, shuffle=False)))
        return [task.predict(["a good story", "", "bad"]), task(x).numpy()]
    return [task.predict(PAIRS if task.text_pairs else TEXTS, verbose=0)]


@pytest.fixture
def stored(two_block_preset, tmp_path):
    """Save a task of a kind and return it with its folder."""

    def save(make, **options):
        task = shaken(make(two_block_preset))
        task.save_to_preset(tmp_path / "model", **options)
        return task, tmp_path / "model"

    return save


def edit(folder, **changes):
    path = folder / "preset.json"
    stated = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in stated.items() if value is not ...}))


def refusal(folder):
    with pytest.raises(TransformerError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_what_was_saved_comes_back(make, stored):
    task, folder = stored(make)
    again = load(folder)
    again.run_eagerly = True
    assert type(again) is type(task)
    assert settings(again) == settings(task)
    ours, theirs = addresses(task), addresses(again)
    assert list(ours) == list(theirs) and again.newly_initialized == ()
    for name, variable in ours.items():
        np.testing.assert_array_equal(variable.numpy(), theirs[name].numpy(), err_msg=name)
    for before, after in zip(answers(task), answers(again), strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_law_is_asked_of_every_task(two_block_preset):
    kinds = {getattr(tasks, name) for name in tasks.TASKS}
    assert kinds == {type(make(two_block_preset)) for make in MAKERS if make is not users_own}
    for kind in kinds:
        assert keras.saving.get_registered_name(kind) == f"tftransformer>{kind.__name__}"


def test_options_are_those_of_from_preset(stored):
    _, folder = stored(text)
    loaded = load(folder, dtype="mixed_bfloat16", sequence_length=6)
    assert loaded.compute_dtype == "bfloat16" and loaded.sequence_length == 6


def test_a_preset_that_was_changed_or_written_anew_stays_what_it_was(stored, tmp_path):
    _, folder = stored(documents)
    adapted = tt.checkpoints.adapt(load_preset(folder), layers=1)
    assert saved_class(adapted) is tt.DocumentClassifier
    assert type(load(write_preset(adapted, tmp_path / "shallow"))) is tt.DocumentClassifier


def test_a_classifier_of_another_project(stored):
    task, folder = stored(lambda preset: tt.TextClassifier.from_preset(preset, LABELS, pooling="cls", pooler=True))
    task.save_to_preset(folder.with_name("theirs"), format="huggingface")
    again = load(folder.with_name("theirs"))
    again.run_eagerly = True
    assert type(again) is tt.TextClassifier and again.labels == LABELS
    np.testing.assert_array_equal(answers(task), answers(again))
    ours = write_preset(load_preset(folder.with_name("theirs")), folder.with_name("ours"))
    assert type(load(ours)) is tt.TextClassifier


def test_an_encoder_alone_needs_a_task(stored, two_block_preset):
    _, folder = stored(documents, head=False)
    for name in (folder, two_block_preset, "bert_12x192_en_uncased"):
        assert saved_class(load_preset(name)) is None
        assert refusal(name) == (
            f"{name} holds an encoder without a task: give it one, such as "
            f"TextClassifier.from_preset({str(name)!r}, labels=[...])"
        )


def test_a_folder_from_before_is_loaded_by_its_class(stored):
    task, folder = stored(text)
    edit(folder, **{"class": ...})
    assert "does not say which class was saved there" in refusal(folder)
    again = tt.TextClassifier.from_preset(folder)
    again.run_eagerly = True
    np.testing.assert_array_equal(answers(again), answers(task))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("theirs>Unheard", "was saved from the class 'theirs>Unheard', which this process does not know"),
        ("Unheard", "import the module that defines it, decorated with keras.saving.register_keras_serializable"),
        ("tftransformer>Unheard", "'tftransformer>Unheard', which this process does not know"),
        ("tftransformer>EncoderBlock", "must be a task's; got 'tftransformer>EncoderBlock'"),
        (7, "preset.json must have class as a name or null; got 7"),
        ("", "preset.json must have class as a name or null; got ''"),
    ],
)
def test_a_class_that_is_not_known(name, message, stored):
    _, folder = stored(text)
    edit(folder, **{"class": name})
    assert message in refusal(folder)


def test_a_class_that_nobody_registered(stored, two_block_preset):
    class Private(tt.TextClassifier):
        pass

    _, folder = stored(lambda preset: Private.from_preset(preset, labels=LABELS))
    assert "was saved from the class 'Private', which this process does not know" in refusal(folder)
    assert type(Private.from_preset(folder)) is Private
    with keras.saving.custom_object_scope({"Private": Private}):
        assert type(load(folder)) is Private


def test_another_class_than_was_saved(stored):
    """It takes over encoder and head where its network has room for everything, and otherwise says what has none."""
    _, folder = stored(text)
    longer = tt.DocumentClassifier.from_preset(folder)
    assert type(longer) is tt.DocumentClassifier and {n.split("/")[0] for n in longer.newly_initialized} == {
        "chunk_attention"
    }
    with pytest.raises(TransformerError, match="tasks must be given: .* was not saved with several tasks"):
        tt.MultiTaskClassifier.from_preset(folder)
    several = tt.MultiTaskClassifier.from_preset(folder, tasks={"mood": LABELS})
    assert {name.split("/")[0] for name in several.newly_initialized} == {"head"}
    folder = folder.with_name("documents")
    longer.save_to_preset(folder)
    with pytest.raises(TransformerError, match="the model has no place for: chunk_attention/"):
        tt.TextClassifier.from_preset(folder)
    several.save_to_preset(folder, overwrite=True)
    with pytest.raises(TransformerError, match="labels or num_classes must be given: .* has no classification head"):
        tt.TextClassifier.from_preset(folder)
    single = tt.TextClassifier.from_preset(folder, labels=LABELS)
    assert {name.split("/")[0] for name in single.newly_initialized} == {"head"}
