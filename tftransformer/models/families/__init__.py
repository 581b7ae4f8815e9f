"""Families of models, one module each, which holds all that is known of a family as plain data.

A new family is a module here, whose `FAMILY` says everything, and its name in `_MODULES`. Code that interprets the data
(builders, loading, saving, tokenizers, tables of documents) goes through `FAMILIES` and names no family.
"""

import importlib

from tftransformer.models.families.family import TOKENIZER_TITLES, Family

# In the order in which people read of them.
_MODULES = (
    "bert", "distilbert", "roberta", "xlm_roberta", "electra", "albert", "gpt2", "llama", "mistral", "qwen2", "bart", "t5", "t5_v1_1",
    "transformer",
)  # fmt: skip

FAMILIES: dict[str, Family] = {name: importlib.import_module(f"{__name__}.{name}").FAMILY for name in _MODULES}
# Where checkpoints load from: the field of `Family`, and how the documents call it.
SOURCES: dict[str, str] = {
    "huggingface": "Hugging Face folder, `hf://`",
    "keras_hub": "keras-nlp name, `kaggle://`, folder",
    "google": "Google's TensorFlow checkpoint",
}


def families_of(source: str, architecture: str | None = None) -> dict[str, Family]:
    """The families that load from one of `SOURCES`, by their names here.

    Args:
        source: One of `SOURCES`.
        architecture: "encoder", "decoder" or "encoder_decoder". None: all of them.

    Example:
        >>> list(families_of("google"))
        ['bert', 'electra', 'albert']
        >>> list(families_of("huggingface", "decoder"))
        ['gpt2', 'llama', 'mistral', 'qwen2']
    """
    return {
        name: family
        for name, family in FAMILIES.items()
        if getattr(family, source) is not None and architecture in (None, family.architecture)
    }


def family_of_tokenizer(kind: str, fairseq_ids: bool = False) -> Family:
    """The family that tokenizers of a kind are named after elsewhere: the first one that comes with it.

    Args:
        kind: One of `text.spec.KINDS`.
        fairseq_ids: Whether the ids are fairseq's, as in `TokenizerFacts`.

    Example:
        >>> family_of_tokenizer("byte_bpe").title, family_of_tokenizer("sentencepiece", fairseq_ids=True).title
        ('RoBERTa', 'XLM-RoBERTa')
    """
    known = ((family, family.tokenizer) for family in FAMILIES.values() if family.tokenizer is not None)
    return next(family for family, facts in known if (facts.kind, facts.fairseq_ids) == (kind, fairseq_ids))


def loading_table() -> str:
    """Return the Markdown table in docs/checkpoints.md of what loads from where; a test keeps the two equal.

    Example:
        >>> print(loading_table().splitlines()[2])
        | BERT | `bert` | yes | yes | yes | WordPiece |
    """
    lines = [f"| family | `family` | {' | '.join(SOURCES.values())} | tokenizer |", "| --- " * (3 + len(SOURCES)) + "|"]
    for name, family in FAMILIES.items():
        loads = [getattr(family, source) is not None for source in SOURCES]
        if any(loads) and family.tokenizer is not None:
            marks = " | ".join("yes" if mark else "" for mark in loads)
            title = TOKENIZER_TITLES[family.tokenizer.kind]
            lines.append(f"| {family.title} | `{name}` | {marks} | {title} |")
    return "\n".join(lines)
