"""Byte-level BPE against Hugging Face's: committed hashes, a plain definition, and live."""

import doctest
import importlib
import json
import random
from pathlib import Path

import pytest
import tensorflow as tf
import tokenizer_cases as cases

from tftransformer.errors import TransformerError
from tftransformer.text.byte_bpe import ByteBPETokenizer, ByteMerger
from tftransformer.text.spec import TokenizerSpec, read_spec

GOLDENS = json.loads((Path(__file__).parent / "byte_bpe" / "goldens.json").read_text())
TEXTS = [*cases.TEXTS, *cases.BYTE_TEXTS]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
SMALL = [*SPECIAL, "h", "i", "Ġ", "hi", "Ġhi"]
MERGES = ["h i", "Ġ hi"]


@pytest.fixture(scope="module", params=list(cases.BYTE_BPE_SETTINGS))
def setting(request):
    return request.param


@pytest.fixture(scope="module")
def tokenizer(setting):
    return ByteBPETokenizer.from_files(cases.BYTE_BPE_SETTINGS[setting], cases.byte_bpe_files())


@pytest.fixture(scope="module")
def plain():
    return ByteBPETokenizer.from_files({}, cases.byte_bpe_files())


def test_ids_and_places_equal_hugging_faces(tokenizer, setting):
    found = cases.digests(tokenizer.tokenize_with_offsets(tf.constant(TEXTS)))
    for text, ours, theirs in zip(TEXTS, found, GOLDENS["places"][setting], strict=True):
        assert ours == theirs, ascii(text[:80])


def test_ids_are_the_same_without_places(tokenizer):
    expected = tokenizer.tokenize_with_offsets(tf.constant(TEXTS)).ids.to_list()
    assert tokenizer.tokenize(tf.constant(TEXTS)).to_list() == expected


def test_bytes_that_are_not_utf8_are_decoded_with_replacement(tokenizer, setting):
    found = tokenizer.tokenize_with_offsets(tf.constant(cases.BYTES))
    assert cases.digests(found) == GOLDENS["bytes"][setting]


@pytest.mark.slow
def test_every_code_point_is_cut_as_by_hugging_face(plain):
    assert [int(block) for block in GOLDENS["blocks"]] == cases.BLOCKS
    for block, expected in GOLDENS["blocks"].items():
        found = plain.tokenize_with_offsets(tf.constant([cases.block_text(int(block))]))
        assert cases.digests(found) == [expected], f"block {int(block) * cases.BLOCK:05X}"


def test_a_text_alone_gives_what_it_gives_in_a_batch(plain):
    together = plain.tokenize(tf.constant(TEXTS)).to_list()
    assert [plain.encode(text) for text in TEXTS] == together


def test_no_word_reaches_into_the_next_text(plain):
    texts = ["it'", "s", "we'l", "l", "x'", "", "ve", "  ", "a", " ", "b"]
    assert plain.tokenize(tf.constant(texts)).to_list() == [plain.encode(text) for text in texts]


def test_an_empty_batch(tokenizer):
    assert tokenizer.tokenize(tf.constant([], tf.string)).to_list() == []
    found = tokenizer.tokenize_with_offsets(tf.constant(["", ""]))
    assert [part.to_list() for part in found] == [[[], []]] * 3
    assert all(part.dtype == tf.int32 for part in found)


def test_in_tf_data(tokenizer, setting):
    batches = tf.data.Dataset.from_tensor_slices(TEXTS).batch(7).map(tokenizer.tokenize_with_offsets)
    assert [row for batch in batches for row in cases.digests(batch)] == GOLDENS["places"][setting]


def test_decoding_gives_every_text_back(plain):
    rows = plain.tokenize(tf.constant(TEXTS)).to_list()
    assert [plain.decode(row) for row in rows] == TEXTS
    for data in cases.BYTES:
        assert plain.decode(plain.tokenize(tf.constant([data])).values.numpy()) == data.decode("utf-8", "replace")


def test_decoding_part_of_a_character_replaces_it(plain):
    first, *_ = plain.encode("\U0001f9ea")
    assert plain.decode([first]) == "\ufffd"
    assert plain.decode([plain.start_id, *plain.encode("a"), plain.separator_id]) == "<s>a</s>"


def test_decoding_a_token_that_is_not_made_of_bytes():
    odd = ByteBPETokenizer([*SMALL, "two words", "日本"], MERGES)
    assert odd.decode([10, 11]) == "two words日本"


def test_special_tokens_are_not_read_from_a_text(plain):
    text = "".join(SPECIAL)
    assert not set(plain.encode(text)) & set(range(5))
    assert plain.decode(plain.encode(text)) == text


def test_places_cover_what_the_tokens_say(plain):
    text = "It's naïve — 你好，\n  world 👩\u200d👧!"
    ids, starts, ends = (part[0].numpy() for part in plain.tokenize_with_offsets([text]))
    untrimmed = ByteBPETokenizer.from_files({"trim_offsets": False}, cases.byte_bpe_files())
    _, wide_starts, wide_ends = (part[0].numpy() for part in untrimmed.tokenize_with_offsets([text]))
    for i, a, b, wide_a, wide_b in zip(ids, starts, ends, wide_starts, wide_ends, strict=True):
        assert text[a:b] == text[wide_a:wide_b].strip(" ")
        said = plain.decode([i])
        assert "\ufffd" in said or said == text[wide_a:wide_b]


def merged_by_definition(word, merges):
    """One merge at a time: the pair of the lowest rank, the leftmost first."""
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
    pieces = list(word)
    while True:
        pairs = [(ranks[pair], i) for i, pair in enumerate(zip(pieces, pieces[1:])) if pair in ranks]
        if not pairs:
            return pieces
        _, i = min(pairs)
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]


@pytest.mark.parametrize("seed", [*range(5), *(pytest.param(i, marks=pytest.mark.slow) for i in range(5, 12))])
@pytest.mark.parametrize("in_order", [True, False])
def test_merges_equal_the_definition(seed, in_order):
    """Also where a merge has a lower rank than the merges that make its parts."""
    chance = random.Random(seed)
    tokens, merges = list("abc"), []
    while len(merges) < 10:
        left, right = chance.choice(tokens), chance.choice(tokens)
        if f"{left} {right}" not in merges and len(left + right) < 9:
            merges.append(f"{left} {right}")
            tokens += [left + right] if left + right not in tokens else []
    if not in_order:
        chance.shuffle(merges)
    words = ["".join(chance.choices("aabc", k=chance.randrange(1, 30))) for _ in range(60)]
    words += ["a" * 77, "ab" * 40, "abc" * 9]
    pieces = ByteMerger(tokens, merges)(tf.constant(words))
    found = tf.RaggedTensor.from_row_splits(pieces.ids, pieces.row_splits).to_list()
    for word, ids in zip(words, found, strict=True):
        assert [tokens[i] for i in ids] == merged_by_definition(word, merges), (word, merges)


def test_bytes_without_a_token_are_left_out():
    tokenizer = ByteBPETokenizer(SMALL, MERGES)
    assert tokenizer.tokenize(tf.constant(["hxi xx", "x", "éhi hi"])).to_list() == [[8, 7], [], [8, 9]]
    found = tokenizer.tokenize_with_offsets(tf.constant(["éhi hi"]))
    assert found.starts.to_list() == [[1, 4]] and found.ends.to_list() == [[3, 6]]


def test_half_a_surrogate_pair_in_a_string_becomes_three_replacements(plain):
    assert plain.decode(plain.encode("a\ud800b")) == "a\ufffd\ufffd\ufffdb"


def test_no_merges_at_all():
    assert ByteBPETokenizer(SMALL, []).encode("hi hi") == [5, 6, 7, 5, 6]


def test_stored_and_read_again(tmp_path):
    tokenizer = ByteBPETokenizer(SMALL, MERGES, add_prefix_space=True, trim_offsets=False, pair_separators=1)
    stored = json.loads(json.dumps(tokenizer.spec().to_config()))
    again = TokenizerSpec.from_config(stored).build()
    for name, data in tokenizer.files().items():
        (tmp_path / name).write_bytes(data)
    from_folder = read_spec(tmp_path, "byte_bpe", tokenizer.get_config()).build()
    for other in (again, from_folder):
        assert other.get_config() == tokenizer.get_config() and other.files() == tokenizer.files()
        assert other.encode("hi") == [9]


def test_special_ids():
    tokenizer = ByteBPETokenizer({token: i for i, token in enumerate(SMALL)}, MERGES)
    assert (tokenizer.start_id, tokenizer.pad_id, tokenizer.separator_id) == (0, 1, 2)
    assert (tokenizer.unknown_id, tokenizer.mask_id, tokenizer.pair_separators) == (3, 4, 2)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(vocabulary=SMALL[1:]), "must hold the special tokens; <s> missing of 9 tokens"),
        (dict(merges="h i"), "merges must be a sequence of strings"),
        (dict(merges=["h o"]), "merge 1, 'h o', needs 'o'"),
        (dict(add_prefix_space=1), "add_prefix_space must be True or False; got 1"),
        (dict(trim_offsets="no"), "trim_offsets must be True or False; got 'no'"),
        (dict(pair_separators=3), "pair_separators must be 1 or 2; got 3"),
        (dict(pair_separators=True), "pair_separators must be 1 or 2; got True"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(TransformerError, match=message):
        ByteBPETokenizer(**{"vocabulary": SMALL, "merges": MERGES, **arguments})


def test_wrong_calls():
    tokenizer = ByteBPETokenizer(SMALL, MERGES)
    with pytest.raises(TransformerError, match="texts must have one dimension"):
        tokenizer.tokenize_with_offsets(tf.constant("scalar"))
    with pytest.raises(TransformerError, match="token_id must be between 0 and 9; got 10"):
        tokenizer.decode([10])
    with pytest.raises(TransformerError, match="'prefix_space' is not known"):
        ByteBPETokenizer.from_files({"prefix_space": True}, tokenizer.files())


@pytest.mark.parametrize("name", ["byte_bpe_files", "byte_bpe", "ragged_ops"])
def test_docstring_examples_run(name):
    module = importlib.import_module(f"tftransformer.text.{name}")
    names = {**vars(module), "tf": tf, "tokenizer": ByteBPETokenizer(SMALL[:-1] + ["Ġhi"], MERGES)}
    result = doctest.testmod(module, extraglobs=names)
    assert result.attempted > 0 and result.failed == 0


@pytest.mark.live
def test_random_texts_live(tokenizer, setting):
    """Apostrophes, spaces and letters in every neighbourhood."""
    pytest.importorskip("transformers")
    import tokenizer_reference as reference

    theirs = reference.byte_bpe(cases.byte_bpe_files(), **cases.BYTE_BPE_SETTINGS[setting])
    chance = random.Random(20240503)
    parts = ["'", "'", "s", "re", "ll", "v", "T", "ab", " ", " ", "  ", "\n", "1", "½", "!", "é", "e\u0301"]
    parts += ["\u3000", "\x85", "中文", "👍🏽", "\u200b", "\x00", "<s>", "</s>", "<mask>", "Ġ"]
    texts = ["".join(chance.choices(parts, k=chance.randrange(10))) for _ in range(10_000)]
    texts += [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000][::97]
    rows = zip(*(part.to_list() for part in tokenizer.tokenize_with_offsets(tf.constant(texts))), strict=True)
    for text, row in zip(texts, rows, strict=True):
        assert row == theirs(text), ascii(text)


@pytest.mark.live
def test_the_committed_classes_are_what_the_generator_writes(tmp_path, monkeypatch):
    pytest.importorskip("tokenizers")
    import generate_character_classes as generator

    from tftransformer.text.byte_bpe import CLASSES

    monkeypatch.setattr(generator, "TARGET", tmp_path / "classes.txt")
    generator.main()
    assert (tmp_path / "classes.txt").read_text().splitlines()[1:] == CLASSES.read_text().splitlines()[1:]
