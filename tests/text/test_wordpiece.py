"""WordPiece ids against Hugging Face's: committed goldens, and live where transformers is installed."""

import hashlib
import json
from pathlib import Path

import pytest
import tensorflow as tf
import tokenizer_cases as cases

from tftransformer.errors import TransformerError
from tftransformer.text.normalization import WordSplitter
from tftransformer.text.wordpiece import WordPieceTokenizer

GOLDENS = json.loads(Path(__file__).with_name("goldens.json").read_text())
SMALL = [*cases.SPECIAL, "un", "##do", "a"]


@pytest.fixture(scope="module", params=list(cases.SETTINGS))
def setting(request):
    return request.param


@pytest.fixture(scope="module")
def tokenizer(setting):
    return WordPieceTokenizer(cases.vocabulary(), **cases.SETTINGS[setting])


def words(splitter, texts):
    found = splitter(tf.constant(texts))
    values, splits = found.values.numpy().tolist(), found.row_splits.numpy().tolist()
    return [values[a:b] for a, b in zip(splits[:-1], splits[1:], strict=True)]


def test_ids_equal_hugging_faces(tokenizer, setting):
    found = tokenizer.tokenize(tf.constant(cases.TEXTS)).to_list()
    for text, ids, expected in zip(cases.TEXTS, found, GOLDENS["ids"][setting], strict=True):
        assert ids == expected, ascii(text)


def test_known_and_unknown_words_both_occur(setting):
    ids = [i for row in GOLDENS["ids"][setting] for i in row]
    assert ids.count(1) > 20 and len(ids) - ids.count(1) > 300


@pytest.mark.by_default("uncased")
@pytest.mark.parametrize("setting", cases.SWEPT, indirect=True)
def test_every_code_point_is_normalised_as_by_hugging_face(setting):
    splitter = WordSplitter(**cases.SETTINGS[setting])
    assert [int(block) for block in GOLDENS["words"][setting]] == cases.BLOCKS
    for block, expected in GOLDENS["words"][setting].items():
        found = b" ".join(words(splitter, [cases.block_text(int(block))])[0])
        assert hashlib.sha256(found).hexdigest()[:12] == expected, f"block {int(block) * cases.BLOCK:05X}"


def test_bytes_that_are_not_utf8_are_decoded_with_replacement(tokenizer, setting):
    assert tokenizer.tokenize(tf.constant(cases.BYTES)).to_list() == GOLDENS["bytes"][setting]


def test_a_text_alone_gives_what_it_gives_in_a_batch(tokenizer, setting):
    for text, expected in zip(cases.TEXTS, GOLDENS["ids"][setting], strict=True):
        assert tokenizer.encode(text) == expected


def test_words_of_neighbouring_texts_do_not_join():
    assert words(WordSplitter(), ["a", "b", "", "c", b"\xe4\xb8", "d"]) == [[b"a"], [b"b"], [], [b"c"], [], [b"d"]]


def test_empty_batch():
    rows = WordPieceTokenizer(SMALL).tokenize(tf.constant([], tf.string))
    assert rows.to_list() == [] and rows.dtype == tf.int32


def test_in_tf_data(tokenizer, setting):
    batches = tf.data.Dataset.from_tensor_slices(cases.TEXTS).batch(7).map(tokenizer.tokenize)
    assert [ids for batch in batches for ids in batch.to_list()] == GOLDENS["ids"][setting]


def test_words_of_exactly_the_limit_are_known():
    tokenizer = WordPieceTokenizer(SMALL, max_word_characters=3)
    assert tokenizer.tokenize(tf.constant(["undo", "aa a"])).to_list() == [[1], [1, 7]]
    assert WordPieceTokenizer(SMALL, max_word_characters=4).encode("undo") == [5, 6]


def test_tokens_that_no_word_can_match_do_no_harm():
    odd = [*SMALL, "", "##", "nul\0", "two words", "y" * 600, "##" + "𝒜" * 200, "\ue000", "\ufffd"]
    tokenizer = WordPieceTokenizer(odd)
    assert tokenizer.encode("undo nul two # ## \ue000 a\ufffd") == [5, 6, 1, 1, 1, 1, 1, 7]
    assert tokenizer.vocabulary == tuple(odd)


def test_tokens_of_the_longest_words_match():
    longest = ["𝒜" * 64, "##" + "я" * 99]
    tokenizer = WordPieceTokenizer([*SMALL, *longest], lowercase=False)
    assert tokenizer.encode("𝒜" * 64 + " a" + "я" * 99) == [8, 7, 9]


def test_a_token_too_long_for_the_kernel_is_refused():
    with pytest.raises(TransformerError, match="vocabulary cannot be compiled: .*exceeds the max supported"):
        WordPieceTokenizer([*SMALL, "𝒜" * 65])


def test_half_a_surrogate_pair_in_a_string_is_dropped():
    assert WordPieceTokenizer(SMALL).encode("un\ud800do") == [5, 6]


def test_special_ids_and_lookups():
    tokenizer = WordPieceTokenizer(["x", "[UNK]", "[SEP]", "[CLS]", "[MASK]", "[PAD]"])
    assert (tokenizer.pad_id, tokenizer.start_id, tokenizer.separator_id) == (5, 3, 2)
    assert (tokenizer.mask_id, tokenizer.unknown_id, tokenizer.vocabulary_size) == (4, 1, 6)
    assert tokenizer.token_to_id("x") == 0 and tokenizer.id_to_token(2) == "[SEP]"


def test_decode_joins_continuations():
    assert WordPieceTokenizer(SMALL).decode(tf.constant([2, 5, 6, 7, 6, 3]).numpy()) == "[CLS] undo ado [SEP]"
    assert WordPieceTokenizer(SMALL).decode([]) == ""


def test_config_round_trip(tmp_path):
    tokenizer = WordPieceTokenizer(SMALL, lowercase=False, strip_accents=True, max_word_characters=7)
    config = json.loads(json.dumps(tokenizer.get_config()))
    again = WordPieceTokenizer.from_files(config, tokenizer.files())
    assert again.get_config() == tokenizer.get_config() and again.vocabulary == tokenizer.vocabulary


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(vocabulary=["[PAD]", "[UNK]", "[CLS]", "[Sep]", "a"]), r"\[SEP\], \[MASK\] missing of 5 tokens$"),
        (dict(vocabulary=[*SMALL, "a"]), "each token once; vocabulary has 'a' in lines 8 and 9"),
        (dict(vocabulary=[]), "at least one token"),
        (dict(vocabulary=SMALL, max_word_characters=0), "max_word_characters must be a positive integer; got 0"),
        (dict(vocabulary=SMALL, max_word_characters=2.5), "got 2.5"),
        (dict(vocabulary=SMALL, lowercase="yes"), "lowercase must be True or False; got 'yes'"),
        (dict(vocabulary=SMALL, strip_accents=1), "strip_accents must be True, False or None; got 1"),
        (dict(vocabulary=SMALL, split_on_cjk=None), "split_on_cjk must be True or False; got None"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(TransformerError, match=message):
        WordPieceTokenizer(**arguments)


def test_wrong_calls():
    tokenizer = WordPieceTokenizer(SMALL)
    with pytest.raises(TransformerError, match="texts must have one dimension"):
        tokenizer.tokenize(tf.constant("scalar"))
    with pytest.raises(TransformerError, match="token must be in the vocabulary; got '##dp'; did you mean '##do'"):
        tokenizer.token_to_id("##dp")
    with pytest.raises(TransformerError, match="token_id must be between 0 and 7; got 8"):
        tokenizer.decode([8])
    with pytest.raises(TransformerError, match="token_id must be between 0 and 7; got -1"):
        tokenizer.id_to_token(-1)
    with pytest.raises(TransformerError, match="'lower_case' is not known; did you mean 'lowercase'"):
        WordPieceTokenizer.from_files({"lower_case": True}, {"vocab.txt": "\n".join(SMALL).encode()})


@pytest.mark.live
def test_goldens_are_what_transformers_gives_today(tokenizer, setting):
    pytest.importorskip("transformers")
    import tokenizer_reference as reference

    settings = cases.SETTINGS[setting]
    theirs = reference.bert_tokenizer(
        cases.vocabulary(),
        do_lower_case=settings["lowercase"],
        strip_accents=settings["strip_accents"],
        tokenize_chinese_chars=settings["split_on_cjk"],
    )
    theirs = [theirs(t, add_special_tokens=False, split_special_tokens=True)["input_ids"] for t in cases.TEXTS]
    backend = reference.encoder(cases.vocabulary(), **settings)
    assert [backend(text) for text in cases.TEXTS] == GOLDENS["ids"][setting]
    for text, ids in zip(cases.TEXTS, theirs, strict=True):
        assert tokenizer.encode(text) == ids, ascii(text)


@pytest.mark.live
@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [True, False])
@pytest.mark.parametrize("split_on_cjk", [True, False])
def test_every_code_point_live(lowercase, strip_accents, split_on_cjk):
    pytest.importorskip("tokenizers")
    import tokenizer_reference as reference

    settings = dict(lowercase=lowercase, strip_accents=strip_accents, split_on_cjk=split_on_cjk)
    splitter, theirs = WordSplitter(**settings), reference.words(**settings)
    usual = lowercase == strip_accents and split_on_cjk
    for block in range(0x110000 // cases.BLOCK) if usual else cases.BLOCKS:
        text = cases.block_text(block)
        assert b" ".join(words(splitter, [text])[0]).decode() == " ".join(theirs(text)), f"{block * cases.BLOCK:05X}"


@pytest.mark.live
@pytest.mark.parametrize("lowercase, strip_accents", [(True, None), (False, None), (False, True)])
def test_random_texts_live(lowercase, strip_accents):
    """Neighbours that act on each other: marks that change places, characters that vanish, spaces."""
    pytest.importorskip("tokenizers")
    import random

    import tokenizer_reference as reference

    from tftransformer.text.code_points import read_rules

    rules = read_rules()
    pools = [sorted(members) for members in rules.values()]
    pools += [sorted(rules["class"]), [0x1D15E, 0x1D15F, 0x1D1BB, 0x344, 0xF73], list(range(32, 127))]
    chance = random.Random(20240501)
    texts = [
        "".join(chr(chance.choice(chance.choice(pools))) for _ in range(chance.randrange(14))) for _ in range(40_000)
    ]
    settings = dict(lowercase=lowercase, strip_accents=strip_accents, split_on_cjk=True)
    theirs = reference.words(**settings)
    for text, found in zip(texts, words(WordSplitter(**settings), texts), strict=True):
        assert [word.decode() for word in found] == theirs(text), ascii(text)


@pytest.mark.live
def test_random_bytes_live():
    pytest.importorskip("tokenizers")
    import random

    import tokenizer_reference as reference

    chance = random.Random(20240502)
    kinds = [[0xC0, 0xC2, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF], range(128, 192), range(256), b"abc "]
    texts = [bytes(chance.choice(chance.choice(kinds)) for _ in range(chance.randrange(9))) for _ in range(40_000)]
    theirs = reference.words(lowercase=True, strip_accents=None, split_on_cjk=True)
    for text, found in zip(texts, words(WordSplitter(), texts), strict=True):
        assert [word.decode() for word in found] == theirs(text.decode("utf-8", "replace")), text
