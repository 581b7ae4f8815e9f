"""Words for masks from a preset's masked-LM head, made so that its answers are known."""

import numpy as np
import pytest

from tftransformer.checkpoints import load_preset, save_huggingface, save_preset
from tftransformer.data.augmentation import Augmentation, ReplaceMasked
from tftransformer.data.tokenizers import WordPieceTokenizer
from tftransformer.errors import TransformerError
from tftransformer.tasks.masked_filler import masked_filler


@pytest.fixture(scope="module")
def headed(tmp_path_factory, tiny_preset, tiny_config, tiny_vocabulary):
    """The tiny preset with a head that says what its bias says: "film" before "movie", special tokens before both."""
    source = load_preset(tiny_preset).source
    width, bias = tiny_config.hidden_dim, np.zeros(len(tiny_vocabulary), "float32")
    for word, score in (("[MASK]", 9), ("##a", 8), ("x", 7), ("film", 6), ("movie", 5)):
        bias[tiny_vocabulary.index(word)] = score
    head = {
        "dense/kernel": np.eye(width), "dense/bias": np.zeros(width), "norm/gamma": np.full(width, 1e-3),
        "norm/beta": np.zeros(width), "bias": bias,
    }  # fmt: skip
    variables = {name: source.get(name) for name in source.keys()}
    variables |= {f"lm_head/{name}": np.asarray(value, "float32") for name, value in head.items()}
    folder = tmp_path_factory.mktemp("presets") / "headed"
    tokenizer = WordPieceTokenizer(tiny_vocabulary)
    return save_preset(folder, config=tiny_config, tokenizer=tokenizer, variables=variables)


def test_a_head_fills_masks_and_augments(headed):
    fill = masked_filler(headed, candidates=2)
    # Special tokens, pieces inside words and single letters are no words.
    assert fill(["a good [MASK].", "[MASK] [MASK]"]) == [[["film", "movie"]], [["film", "movie"]] * 2]
    assert fill(["no mask"]) == [[]]
    augmentation = Augmentation(ReplaceMasked(fill, 1.0))
    assert augmentation(["Good film!"]) in (["Film movie!"], ["Movie movie!"])


@pytest.mark.slow
def test_masks_behind_the_longest_text_are_not_filled(headed):
    short = masked_filler(load_preset(headed), max_length=4, candidates=1)
    assert short(["good bad [MASK]", "[MASK]"]) == [[[]], [["film"]]]


@pytest.mark.slow
def test_a_foreign_folder_with_a_head_gives_the_same(headed, tmp_path):
    preset = load_preset(headed)
    draw = np.random.default_rng(0)
    arrays = {name: np.asarray(preset.source.get(name)) for name in preset.source.keys()}
    arrays |= {n: draw.normal(0, 0.5, a.shape).astype("float32") for n, a in arrays.items() if "lm_head" in n}
    tokenizer = preset.tokenizer.build()
    own = save_preset(tmp_path / "own", config=preset.config, tokenizer=tokenizer, variables=arrays)
    save_huggingface(
        tmp_path / "foreign", config=preset.config, tokenizer=tokenizer, variables=arrays, pooling="cls"
    )
    texts = ["good [MASK] film", "the [MASK] plot was [MASK]", "slow [MASK]"]
    found = masked_filler(own)(texts)
    assert found == masked_filler(tmp_path / "foreign")(texts)
    assert len({tuple(words) for row in found for words in row}) > 1, "the answer depends on the text"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {},
            "masked_filler needs a preset with a masked-LM head, and .*tiny has none: .*objective=masked_lm",
        ),
        ({"max_length": 2}, "max_length must be between 3 and 32, .*; got 2"),
        ({"max_length": 33}, "max_length must be between 3 and 32, .*; got 33"),
    ],
)
def test_errors_are_one_line(tiny_preset, change, words):
    with pytest.raises(TransformerError, match=words) as error:
        masked_filler(tiny_preset, **change)
    assert "\n" not in str(error.value)


def test_what_else_is_refused(headed, tiny_config, tiny_vocabulary, tmp_path):
    with pytest.raises(TransformerError, match="candidates must be at least 1; got 0"):
        masked_filler(headed, candidates=0)
    source = load_preset(headed).source
    changed = save_preset(
        tmp_path / "changed", config=tiny_config, tokenizer=WordPieceTokenizer(tiny_vocabulary),
        variables={name: source.get(name) for name in source.keys()}, modifications=[{"kind": "lora"}],
    )  # fmt: skip
    with pytest.raises(TransformerError, match="needs an encoder as it was pretrained; .* holds changes"):
        masked_filler(changed)
