"""Hugging Face's fast BERT tokenizer, for comparison: text only, special tokens switched off."""

import json

import tokenizers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

VERSION = tokenizers.__version__


def _normalizer(lowercase, strip_accents, split_on_cjk):
    return normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=split_on_cjk, strip_accents=strip_accents, lowercase=lowercase
    )


def encoder(vocabulary, **settings):
    """Function: text -> ids."""
    encode = word_piece(vocabulary, **settings)
    return lambda text: encode(text)[0]


def word_piece(vocabulary, max_word_characters=100, **settings):
    """Function: text -> ids, starts, ends."""
    ids = {token: number for number, token in enumerate(vocabulary)}
    backend = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=max_word_characters))
    backend.normalizer = _normalizer(**settings)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return lambda text: _places(backend.encode(text, add_special_tokens=False))


def words(**settings):
    """Function: text -> normalised words."""
    normalize = _normalizer(**settings).normalize_str
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    return lambda text: [word for word, _ in split(normalize(text))]


def bert_tokenizer(vocabulary, **settings):
    """The class that users of Hugging Face have."""
    from transformers import BertTokenizerFast

    return BertTokenizerFast(vocab={t: i for i, t in enumerate(vocabulary)}, **settings)


def byte_bpe(files, **settings):
    """Function: text -> ids, starts, ends; of the class that users of Hugging Face have."""
    from transformers import RobertaTokenizerFast

    merges = [tuple(line.split(" ")) for line in files["merges.txt"].decode().splitlines()[1:]]
    tokenizer = RobertaTokenizerFast(vocab=json.loads(files["vocab.json"]), merges=merges, **settings)

    def encode(text):
        out = tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
        starts, ends = zip(*out["offset_mapping"], strict=True) if out["input_ids"] else ((), ())
        return out["input_ids"], list(starts), list(ends)

    return encode


def _places(encoding):
    return encoding.ids, [start for start, _ in encoding.offsets], [end for _, end in encoding.offsets]
