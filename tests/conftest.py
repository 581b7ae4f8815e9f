"""Quiet TensorFlow, and tiny models that every test can afford."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import hypothesis
import numpy as np
import pytest

# The same examples in every run, and no failure because a machine is busy.
hypothesis.settings.register_profile("project", deadline=None, derandomize=True)
hypothesis.settings.load_profile("project")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if (mark := item.get_closest_marker("by_default")) and item.callspec.id not in mark.args:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish(session):
    # The modules of TensorFlow and Keras stay until the end: collections need not walk through them.
    gc.collect()
    gc.freeze()
    # Keras's graphs are full of cycles, and Python's usual thresholds walk through all of them every few calls: a tenth of
    # the suite's time.
    gc.set_threshold(50_000, 20, 20)


WORDS = (
    "good bad fine poor great awful plot acting film music story slow quick dull bright "
    "a the was not very and but it is this movie"
).split()


@pytest.fixture(scope="session")
def tiny_vocabulary() -> list[str]:
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    marks = list(".,!?'-[]0123456789")
    return [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS,
        *(c for c in letters if c not in WORDS), *marks, *(f"##{c}" for c in letters),
    ]  # fmt: skip


@pytest.fixture(scope="session")
def tiny_config(tiny_vocabulary):
    from tftransformer.config import TransformerConfig

    return TransformerConfig(
        vocabulary_size=len(tiny_vocabulary), num_layers=2, hidden_dim=16, num_heads=2, intermediate_dim=32,
        max_sequence_length=32,
    )  # fmt: skip


def _randomised_preset(folder, config, vocabulary):
    from tftransformer.checkpoints import save_preset
    from tftransformer.models.encoder import build_encoder
    from tftransformer.patterns import addresses
    from tftransformer.text import WordPieceTokenizer

    draw = np.random.default_rng(0)
    variables = {
        name: draw.normal(1.0 if name.endswith("gamma") else 0.0, 0.2, variable.shape).astype("float32")
        for name, variable in addresses(build_encoder(config)).items()
    }
    return save_preset(
        folder, config=config, tokenizer=WordPieceTokenizer(vocabulary), variables=variables, pooling="mean"
    )


@pytest.fixture(scope="session")
def tiny_preset(tmp_path_factory, tiny_vocabulary, tiny_config):
    """A preset folder of ours with a randomised one-block encoder, without a head."""
    config = tiny_config.replace(num_layers=1)
    return _randomised_preset(tmp_path_factory.mktemp("presets") / "tiny", config, tiny_vocabulary)


@pytest.fixture(scope="session")
def two_block_preset(tmp_path_factory, tiny_vocabulary, tiny_config):
    """The same with two blocks, which take a third longer to build, trace and run, for what depends on their number."""
    return _randomised_preset(tmp_path_factory.mktemp("presets") / "two", tiny_config, tiny_vocabulary)


@pytest.fixture(scope="session")
def reviews() -> tuple[list[str], list[str]]:
    """Sixty short texts and their labels, separable by one word."""
    draw = np.random.default_rng(1)
    texts, labels = [], []
    for i in range(60):
        kind = i % 2
        words = list(draw.choice(WORDS[6:], draw.integers(1, 9)))
        words.insert(int(draw.integers(len(words) + 1)), ("bad", "good")[kind])
        texts.append(" ".join(words))
        labels.append(("negative", "positive")[kind])
    return texts, labels
