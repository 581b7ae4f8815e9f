"""Words for masks from a preset's masked-LM head, made so that its answers are known."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tftransformer.checkpoints import load_preset, save_huggingface, save_preset
from tftransformer.data.augmentation import Augmentation, ReplaceMasked
from tftransformer.data.augmentation.sources import whole_words
from tftransformer.errors import TransformerError
from tftransformer.tasks.masked_filler import masked_filler
from tftransformer.text import WordPieceTokenizer


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
    short = masked_filler(load_preset(headed), sequence_length=4, candidates=1)
    assert short(["good bad [MASK]", "[MASK]"]) == [[[]], [["film"]]]


@pytest.mark.slow
def test_a_foreign_folder_with_a_head_gives_the_same(headed, tmp_path):
    preset = load_preset(headed)
    draw = np.random.default_rng(0)
    arrays = {name: np.asarray(preset.source.get(name)) for name in preset.source.keys()}
    arrays |= {n: draw.normal(0, 0.5, a.shape).astype("float32") for n, a in arrays.items() if "lm_head" in n}
    tokenizer = preset.tokenizer.build()
    own = save_preset(tmp_path / "own", config=preset.config, tokenizer=tokenizer, variables=arrays)
    save_huggingface(tmp_path / "foreign", config=preset.config, tokenizer=tokenizer, variables=arrays, pooling="cls")
    texts = ["good [MASK] film", "the [MASK] plot was [MASK]", "slow [MASK]"]
    found = masked_filler(own)(texts)
    assert found == masked_filler(tmp_path / "foreign")(texts)
    assert len({tuple(words) for row in found for words in row}) > 1, "the answer depends on the text"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "masked_filler needs a preset with a masked-LM head, and .*tiny has none: .*objective=masked_lm"),
        ({"sequence_length": 2}, "sequence_length must be between 3 and 32, .*; got 2"),
        ({"sequence_length": 33}, "sequence_length must be between 3 and 32, .*; got 33"),
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


@pytest.mark.live
@pytest.mark.parametrize("family", ["Bert", "Roberta", "DistilBert"])
def test_the_best_words_are_those_of_transformers(family, tmp_path, tiny_vocabulary):
    """A random model of theirs, every tensor random, its tokenizer's files, and one mask a text."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    folder = tmp_path / family
    if family == "Roberta":
        source = Path(__file__).parents[1] / "text/byte_bpe"
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("goldens.json"))
        # As in the published folders: the mask takes in the space before it.
        mask = transformers.AddedToken("<mask>", lstrip=True, special=True)
        tokenizer = transformers.RobertaTokenizerFast.from_pretrained(folder, mask_token=mask)
    else:
        folder.mkdir()
        (folder / "vocab.txt").write_text("\n".join(tiny_vocabulary) + "\n")
        tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"))
    sizes = {
        "hidden_size": 16, "dim": 16, "num_hidden_layers": 2, "n_layers": 2, "num_attention_heads": 2, "n_heads": 2,
        "intermediate_size": 32, "hidden_dim": 32,
    }  # fmt: skip
    if family == "DistilBert":
        sizes = {name: sizes[name] for name in ("dim", "n_layers", "n_heads", "hidden_dim")}
    else:
        sizes = {name: value for name, value in sizes.items() if "_" in name and name[:2] != "n_"}
        sizes.pop("hidden_dim")
    more = {"pad_token_id": 1, "type_vocab_size": 1} if family == "Roberta" else {}
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(tokenizer), max_position_embeddings=64, **sizes, **more
    )
    model = getattr(transformers, f"{family}ForMaskedLM")(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(torch.randn_like(value) * 0.3 + (1.0 if "norm" in name.lower() and "weight" in name else 0))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    texts = ["the film is [MASK] and slow", "not a [MASK]", "[MASK] music"]
    found = masked_filler(folder, candidates=3)(texts)
    words = set(whole_words(load_preset(folder).tokenizer)[1])
    for text, (best,) in zip(texts, found, strict=True):
        inputs = tokenizer(text.replace("[MASK]", tokenizer.mask_token), return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits[0, inputs.input_ids[0] == tokenizer.mask_token_id][0]
        order = [tokenizer.convert_ids_to_tokens(int(i)) for i in logits.argsort(descending=True)]
        starts = "Ġ" if family == "Roberta" else ""
        expected = [t.removeprefix(starts) for t in order if t.startswith(starts) and t.removeprefix(starts) in words]
        assert best == expected[:3]
