"""Saving for Hugging Face: a folder that loads here bit by bit and there without a missing or unexpected tensor."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

import tftransformer as tt
from tftransformer.checkpoints.huggingface.settings import settings_of
from tftransformer.errors import TransformerError
from tftransformer.models.families import families_of, family_of_tokenizer
from tftransformer.patterns import addresses
from tftransformer.text.sentencepiece_model import model_bytes, parse_model, to_fairseq
from tftransformer.text.spec import read_spec

TOKENIZERS = Path(__file__).parents[2] / "text"
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "##ly", "a", "day"]
FAMILIES = tuple(families_of("huggingface", "encoder"))
LABELS = ("low", "mid", "high")
TEXTS = ["A good day", "bad", "a badly good day, and another"]


@pytest.fixture(scope="module")
def make_tokenizer(tmp_path_factory):
    """A tiny tokenizer of the kind that a family's checkpoints have."""

    def make(family):
        folder = tmp_path_factory.mktemp(family)
        if family == "roberta":
            return read_spec(TOKENIZERS / "byte_bpe", "byte_bpe", {}).build()
        if family in ("albert", "xlm_roberta"):
            model = parse_model((TOKENIZERS / f"sentencepiece_{family}.model").read_bytes())
            if family == "xlm_roberta":
                model = to_fairseq(model, family_of_tokenizer("sentencepiece", fairseq_ids=True).tokenizer.roles)
            (folder / "spiece.model").write_bytes(model_bytes(model))
            return read_spec(folder, "sentencepiece", SETTINGS[family]).build()
        (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
        return read_spec(folder, "wordpiece", {}).build()

    return make


SETTINGS = {
    "xlm_roberta": {},
    "albert": {
        "lowercase": True,
        "strip_accents": True,
        "straighten_quotes": True,
        "pair_separators": 1,
        "start_token": "[CLS]",
        "separator_token": "[SEP]",
        "mask_token": "[MASK]",
    },
}


def config_of(family, tokenizer):
    return tt.TransformerConfig(
        family,
        vocabulary_size=tokenizer.vocabulary_size + 3,
        num_layers=2,
        hidden_dim=16,
        num_heads=2,
        intermediate_dim=24,
        max_sequence_length=48,
        **({"embedding_dim": 8} if family in ("electra", "albert") else {}),
    )


def randomised(task):
    rng = np.random.default_rng(4)
    for variable in addresses(task).values():
        variable.assign(rng.normal(size=variable.shape) * 0.3)
    return task


@pytest.fixture(scope="module")
def make_classifier(make_tokenizer):
    """A tiny classifier of a family with every weight random."""
    made = {}

    def make(family, **options):
        key = (family, *sorted(options.items()))
        if key not in made:
            tokenizer = make_tokenizer(family)
            classifier = tt.TextClassifier(config_of(family, tokenizer), tokenizer, LABELS, **options)
            made[key] = randomised(classifier)
        return made[key]

    return make


def logits(classifier):
    return classifier.predict(TEXTS, verbose=0)


# In default runs the three that differ most.
@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=pytest.mark.slow if family in ("distilbert", "roberta", "xlm_roberta") else ())
        for family in FAMILIES
    ],
)
def test_round_trip_is_bit_equal(family, make_classifier, tmp_path):
    classifier = make_classifier(family)
    classifier.save_to_preset(tmp_path / "there", format="huggingface")
    again = tt.TextClassifier.from_preset(tmp_path / "there")
    assert not again.load_summary.newly_initialized and not again.load_summary.ignored
    assert again.labels == LABELS and again.config == classifier.config
    theirs = addresses(again)
    for name, variable in addresses(classifier).items():
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(variable), keras.ops.convert_to_numpy(theirs[name]), name
        )
    np.testing.assert_array_equal(logits(classifier), logits(again))


@pytest.mark.live
@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_loads_every_tensor_and_agrees(family, make_classifier, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    classifier = make_classifier(family)
    classifier.save_to_preset(tmp_path / "there", format="huggingface")
    model, report = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "there", output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert [model.config.id2label[i] for i in range(3)] == list(LABELS)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "there")
    for sides in ((TEXTS,), (TEXTS, TEXTS[::-1])):
        batch = tokenizer(*sides, padding=True, return_tensors="pt")
        ours = classifier.preprocessor.graph(*sides)
        np.testing.assert_array_equal(batch["input_ids"].numpy(), ours["token_ids"].numpy())
        with torch.no_grad():
            reference = model.eval()(**batch).logits.numpy()
        found = keras.ops.convert_to_numpy(classifier(ours, training=False))
        assert np.abs(found - reference).max() < 1e-5 * max(1.0, np.abs(reference).max())


@pytest.mark.live
@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_loads_the_bare_encoder(family, make_classifier, tmp_path):
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    make_classifier(family).save_to_preset(tmp_path / "bare", format="huggingface", head=False)
    kwargs = {"add_pooling_layer": False} if family in ("roberta", "xlm_roberta") else {}
    _, report = transformers.AutoModel.from_pretrained(tmp_path / "bare", output_loading_info=True, **kwargs)
    assert not report["missing_keys"] and not report["unexpected_keys"]


def test_what_is_written(make_classifier, tmp_path):
    classifier = make_classifier("bert", multi_label=True, head_dropout=0.3)
    classifier.save_to_preset(tmp_path / "there", format="huggingface", dtype="float16")
    stated = json.loads((tmp_path / "there" / "config.json").read_text())
    assert stated["architectures"] == ["BertForSequenceClassification"] and stated["model_type"] == "bert"
    assert stated["problem_type"] == "multi_label_classification" and stated["classifier_dropout"] == 0.3
    assert (stated["id2label"]["2"], stated["label2id"]["high"], stated["dtype"]) == ("high", 2, "float16")
    again = tt.TextClassifier.from_preset(tmp_path / "there")
    assert again.multi_label and again.network.head_dropout == 0.3


def test_a_mean_pooled_encoder_is_sentence_transformers(make_classifier, tmp_path):
    classifier = make_classifier("bert", pooling="mean")
    with pytest.raises(TransformerError, match="must pool the first token.*the model pools by mean.*head=False"):
        classifier.save_to_preset(tmp_path / "there", format="huggingface")
    assert not (tmp_path / "there").exists()
    classifier.save_to_preset(tmp_path / "there", format="huggingface", head=False)
    preset = tt.load_preset(tmp_path / "there")
    assert (preset.pooling, preset.labels, preset.pooler) == ("mean", None, False)
    modules = json.loads((tmp_path / "there" / "modules.json").read_text())
    assert [module["path"] for module in modules] == ["", "1_Pooling"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "hugging_face"}, "format must be one of tftransformer, huggingface.*did you mean 'huggingface'"),
        ({"format": "huggingface", "dtype": "int8"}, "int8"),
    ],
)
def test_wrong_arguments(options, message, make_classifier, tmp_path):
    with pytest.raises(TransformerError, match=message):
        make_classifier("bert").save_to_preset(tmp_path / "there", **options)
    assert list(tmp_path.iterdir()) == []


def test_what_their_model_cannot_express(make_classifier, tmp_path):
    with pytest.raises(TransformerError, match="no place for; the model has extra_block_0"):
        make_classifier("bert", extra_blocks=1).save_to_preset(tmp_path / "x", format="huggingface")
    with pytest.raises(TransformerError, match="through a dense layer; the model has none"):
        make_classifier("bert", pooler=False).save_to_preset(tmp_path / "x", format="huggingface")
    sizes = {"vocabulary_size": 9, "num_layers": 2, "hidden_dim": 8, "num_heads": 2, "intermediate_dim": 8}
    for family, fields, message in (
        ("bert", {"position": "rotary"}, "Bert must have position 'learned'; the model's is 'rotary'"),
        ("bert", {"num_distinct_blocks": 1}, "Bert must have num_distinct_blocks None; the model's is 1"),
        ("bert", {"embedding_dim": 4}, "Bert must have embedding_dim None; the model's is 4"),
        ("bert", {"head_dim": 6}, "must have heads of hidden_dim / num_heads; got 6"),
        ("distilbert", {"num_segments": 2}, "DistilBert must have num_segments 0; the model's is 2"),
        ("bert", {"position_offset": 2}, "Bert must have position_offset 0; the model's is 2"),
    ):
        with pytest.raises(TransformerError, match=message):
            settings_of(tt.TransformerConfig(family, **sizes, **fields))
    assert list(tmp_path.iterdir()) == []


TAGS = ("O", "B-X", "I-X")
WORDS = [["A", "good", "day"], ["bad"], ["a", "badly", "good", "day", ",", "and", "another"]]


@pytest.mark.live
@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_gives_the_tags_of_words(family, make_tokenizer, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizer = make_tokenizer(family)
    tagger = randomised(tt.TokenClassifier(config_of(family, tokenizer), tokenizer, TAGS))
    tagger.save_to_preset(tmp_path / "there", format="huggingface")
    model, loading = transformers.AutoModelForTokenClassification.from_pretrained(
        tmp_path / "there", output_loading_info=True
    )
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    space = {"add_prefix_space": True} if family == "roberta" else {}
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "there", **space)
    found = theirs(WORDS, is_split_into_words=True, padding=True, return_tensors="pt")
    with torch.no_grad():
        probabilities = model.eval()(**found).logits.softmax(-1).numpy()
    for row, ours in enumerate(tagger.predict(WORDS, verbose=0)):
        numbers = found.word_ids(row)
        firsts = [numbers.index(word) for word in range(len(WORDS[row]))]
        np.testing.assert_allclose(ours, probabilities[row, firsts], atol=1e-4)
    model.save_pretrained(tmp_path / "again")
    theirs.save_pretrained(tmp_path / "again")
    again = tt.load(tmp_path / "again")
    assert type(again) is tt.TokenClassifier and again.labels == TAGS and not again.load_summary.newly_initialized
    for ours, expected in zip(again.predict(WORDS, verbose=0), tagger.predict(WORDS, verbose=0), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)
