"""Words of byte-level BPE against the regular expressions of their authors, as the `tokenizers` library runs them."""

import random

import pytest
import tensorflow as tf
from tokenizers import Regex, pre_tokenizers

from tftransformer.checkpoints.huggingface.tokenizer_json import EXPRESSIONS
from tftransformer.errors import TransformerError
from tftransformer.text.byte_bpe import ByteBPETokenizer
from tftransformer.text.byte_bpe_files import byte_characters
from tftransformer.text.byte_words import SPLITS, ByteWordSplitter

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
COMMON = "ab'sStTrReEvVlLdDmM  \t\n\r!?.(12345"
RARE = "éſK²Ⅷ٣\u00a0\u3000中\u0301😀ﬆ\u2028\x85½"


def reference(split):
    if split in EXPRESSIONS:
        return pre_tokenizers.Split(Regex(EXPRESSIONS[split]), "isolated")
    whole = pre_tokenizers.Split(Regex(GPT2), "isolated")
    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([digits, whole]) if split == "r50k_digits" else whole


def texts(count):
    draw = random.Random(0)
    alphabets = (COMMON + RARE, COMMON, "' sSlLeErRvV!\n 1a")
    return ["".join(draw.choices(draw.choice(alphabets), k=draw.randrange(14))) for _ in range(count)]


def words(split, given):
    found = ByteWordSplitter(split)(tf.constant(given, tf.string))
    return tf.RaggedTensor.from_row_splits(found.values, found.row_splits).to_list()


@pytest.mark.parametrize("split", SPLITS)
def test_words_are_those_of_the_expression(split):
    given, known = texts(12_000), reference(split)
    for text, found in zip(given, words(split, given), strict=True):
        expected = [word for word, _ in known.pre_tokenize_str(text)] if text else []
        assert [word.decode() for word in found] == expected, ascii(text)


@pytest.mark.parametrize("split", SPLITS)
def test_no_word_reaches_into_the_next_text(split):
    given = ["it'", "s", "x\n", "\n", " ", "a", "!", "b", "12", "34", "", "'", "ll"]
    assert words(split, given) == [words(split, [text])[0] for text in given]
    assert words(split, []) == [] and words(split, ["", ""]) == [[], []]


def test_an_unknown_split_is_one_line():
    with pytest.raises(TransformerError, match="split must be one of .*; did you mean 'cl100k'"):
        ByteWordSplitter("cl100")


SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


@pytest.mark.parametrize("ignore_merges", [False, True])
def test_a_word_of_the_vocabulary_needs_no_merges(ignore_merges):
    """ "abc" comes from no merge: "a b" is taken first, and "ab c" is none."""
    pieces = [*SPECIAL, *byte_characters(), "ab", "bc", "abc", "Ġab"]
    options = {"split": "cl100k", "ignore_merges": ignore_merges}
    tokenizer = ByteBPETokenizer(pieces, ["a b", "b c", "a bc", "Ġ ab"], **options)
    found = [[pieces[i] for i in row] for row in tokenizer.tokenize(["abc ab abc", "abcd"]).to_list()]
    whole = ["abc"] if ignore_merges else ["ab", "c"]
    assert found == [[*whole, "Ġab", "Ġab", "c"], ["ab", "c", "d"]]
    again = ByteBPETokenizer.from_files(tokenizer.spec().settings, tokenizer.files())
    assert again.ignore_merges == ignore_merges and again.tokenize(["abc"]).to_list() == [
        [pieces.index(p) for p in whole]
    ]


def test_the_words_of_a_graph_are_those_of_the_host():
    pieces = [*SPECIAL, *byte_characters(), "abc"]
    tokenizer = ByteBPETokenizer(pieces, [], split="cl100k_digits", ignore_merges=True, nfc=True)
    graph = tf.function(tokenizer.tokenize, input_signature=[tf.TensorSpec([None], tf.string)])
    given = ["abc e\u0301 12", "", "\u1100\u1161\u11a8 abc"]
    assert graph(tf.constant(given)).to_list() == tokenizer.tokenize(given).to_list()
    assert tokenizer.tokenize(["e\u0301"]).to_list() == tokenizer.tokenize(["\u00e9"]).to_list()
