"""Hugging Face's fast BERT tokenizer, for comparison: text only, special tokens switched off."""

import tokenizers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

VERSION = tokenizers.__version__


def _normalizer(lowercase, strip_accents, split_on_cjk):
    return normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=split_on_cjk, strip_accents=strip_accents, lowercase=lowercase
    )


def encoder(vocabulary, **settings):
    """Function: text -> ids."""
    backend = Tokenizer(models.WordPiece({t: i for i, t in enumerate(vocabulary)}, unk_token="[UNK]"))
    backend.normalizer = _normalizer(**settings)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return lambda text: backend.encode(text, add_special_tokens=False).ids


def words(**settings):
    """Function: text -> normalised words."""
    normalize = _normalizer(**settings).normalize_str
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    return lambda text: [word for word, _ in split(normalize(text))]


def bert_tokenizer(vocabulary, **settings):
    """The class that users of Hugging Face have."""
    from transformers import BertTokenizerFast

    return BertTokenizerFast(vocab={t: i for i, t in enumerate(vocabulary)}, **settings)
