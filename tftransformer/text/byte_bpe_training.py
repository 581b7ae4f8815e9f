"""A byte-level BPE vocabulary (Sennrich et al. 2016, arXiv 1508.07909; over bytes, Radford et al. 2019) from texts."""

import json
from collections.abc import Iterable

from tftransformer.errors import TransformerError, check_whole
from tftransformer.text.byte_bpe import ByteBPETokenizer

# The special tokens of `ByteBPETokenizer`, in the order of fairseq's dictionaries.
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_BYTES = 256


def train_byte_bpe(texts: Iterable[str], vocabulary_size: int, *, least_count: int = 2) -> ByteBPETokenizer:
    """A tokenizer whose vocabulary is learned from texts, by the `tokenizers` library.

    Each text is cut as if it began with a space, so that a word is the same token at the start and inside. Every text
    comes back as it was from its tokens.

    Args:
        texts: Texts to learn from; for translation those of both sides, which then share the vocabulary.
        vocabulary_size: Number of tokens, special ones and the 256 bytes included; fewer where the texts have no more
            pairs that come often enough.
        least_count: Number of times that a pair has to come to be merged.

    Raises:
        TransformerError: `vocabulary_size` has no room for the bytes, there is no text, or `tokenizers` is missing.

    Example:
        >>> learned = train_byte_bpe(["low lower lowest", "new newer newest"], 280)
        >>> learned.detokenize(learned.tokenize(["a new low"]))[0].numpy().decode()
        'a new low'
    """
    check_whole("vocabulary_size", vocabulary_size)
    check_whole("least_count", least_count)
    if vocabulary_size < (least := len(SPECIAL) + _BYTES):
        raise TransformerError(
            f"vocabulary_size must be at least {least}, the special tokens and the bytes; got {vocabulary_size}"
        )
    try:
        import tokenizers
    except ImportError:
        raise TransformerError("learning a vocabulary needs tokenizers (pip install tokenizers)") from None
    learned = tokenizers.Tokenizer(tokenizers.models.BPE())
    learned.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=least_count,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learned.train_from_iterator(texts, trainer)
    model = json.loads(learned.to_str())["model"]
    if not model["merges"]:
        raise TransformerError("texts must hold something that comes more than once to learn a vocabulary from")
    merges = [" ".join(merge) for merge in model["merges"]]
    return ByteBPETokenizer(model["vocab"], merges, add_prefix_space=True, pair_separators=1)
