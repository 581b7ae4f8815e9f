"""Hugging Face's fast ALBERT and XLM-RoBERTa tokenizers, for comparison: text only, special tokens never found."""

import hashlib
import json

import sentencepiece_cases as cases

LONG = 400


def digest(rows):
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]


def compact(row):
    """A row itself, or the digest of a long one."""
    return row if len(row) <= LONG else digest(row)


def transformers_tokenizer(family, model=None, hide=True):
    """transformers' own class. Hidden special tokens have names that no text holds."""
    from transformers import AlbertTokenizer, XLMRobertaTokenizer

    model = cases.model(family) if model is None else model
    names = dict.fromkeys(cases.SPECIAL[family], "")
    for number, name in enumerate(names, 1):
        names[name] = "\U0010abcd" * (5 + number) if hide and name != "<unk>" else name
    start, pad, separator, unknown, mask = names.values()
    return {"albert": AlbertTokenizer, "xlm_roberta": XLMRobertaTokenizer}[family](
        vocab=[(names.get(piece, piece), score) for piece, score in zip(model.pieces, model.scores, strict=True)],
        _spm_precompiled_charsmap=model.charsmap,
        cls_token=start,
        bos_token=start,
        pad_token=pad,
        sep_token=separator,
        eos_token=separator,
        unk_token=unknown,
        mask_token=mask,
    )


def encoder(family, model=None):
    """Function: texts -> rows of (id, start, end)."""
    return rows_of(transformers_tokenizer(family, model))


def rows_of(tokenizer):
    def encode(texts):
        out = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
        pairs = zip(out["input_ids"], out["offset_mapping"], strict=True)
        return [[[i, *span] for i, span in zip(ids, spans, strict=True)] for ids, spans in pairs]

    return encode
