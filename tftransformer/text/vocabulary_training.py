"""Learns a WordPiece vocabulary from text, over word counts.

The learner is tensorflow-text's (top-down, Schuster and Nakajima 2012 as in BERT's multilingual
vocabularies). It sees each distinct word once with its count, so its time does not grow with the text.
"""

import gzip
import math
import os
import string
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf

from tftransformer.errors import TransformerError
from tftransformer.text.normalization import WordSplitter

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = string.ascii_lowercase + string.digits
CHUNKS_AT_ONCE = 50_000
# The learner's time grows with the number of distinct words; rarer ones hardly move a piece's rank.
MOST_WORDS = 120_000
MOST_WORD_CHARACTERS = 30
SLACK = 0.1


def train_wordpiece(
    texts: Iterable[str | os.PathLike] | os.PathLike,
    vocabulary_size: int,
    lowercase: bool = True,
    strip_accents: bool | None = None,
    character_coverage: float = 0.9999,
    progress: Callable[[str], None] | None = None,
) -> list[str]:
    """Learns a vocabulary of exactly `vocabulary_size` tokens.

    The order is: `[PAD] [UNK] [CLS] [SEP] [MASK]`, the characters, then pieces from frequent to rare.
    ASCII letters and digits are always there, as a start and as a continuation, and ASCII punctuation as
    a start (it is never a continuation: each mark is a word). Text too poor to fill the vocabulary leaves
    `[unused0]`, `[unused1]`, ... at the end, as in BERT's own.

    Args:
        texts: Strings (a generator is read once and never held), or `pathlib.Path` of UTF-8 text files,
            plain or `.gz`.
        vocabulary_size: Number of tokens.
        lowercase: Lower case, as the tokenizer that will use the vocabulary.
        strip_accents: Drop accents; None does what `lowercase` does.
        character_coverage: Fraction of the text's characters that get tokens of their own, most frequent
            first; words with others are [UNK] later on. Defaults to 0.9999, which spends few tokens on
            the stray characters of English text and still covers a language with thousands of them.
        progress: Called with a line of text now and then. Defaults to silence.

    Returns:
        The tokens; the position is the id.

    Raises:
        TransformerError: the vocabulary is too small for the characters, or there are no words.

    Example:
        >>> train_wordpiece(["the cat sat on the mat"] * 3, 150)[:6]
        ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', '!']
    """
    say = progress or (lambda line: None)
    counts = count_words(texts, lowercase, strip_accents, say)
    if not counts:
        raise TransformerError("texts must hold at least one word; got none")
    return learn_vocabulary(counts, vocabulary_size, lowercase, character_coverage, say)


def count_words(
    texts: Iterable[str | os.PathLike] | os.PathLike,
    lowercase: bool = True,
    strip_accents: bool | None = None,
    progress: Callable[[str], None] | None = None,
) -> Counter[str]:
    """Count normalised words. Arguments as in `train_wordpiece`.

    Strings between spaces are counted first, and each is normalised once for all its occurrences.

    Example:
        >>> count_words(["Déjà vu, vu"])
        Counter({'vu': 2, 'deja': 1, ',': 1})
    """
    say = progress or (lambda line: None)
    chunks: Counter[str] = Counter()
    for number, text in enumerate(_lines(texts), 1):
        chunks.update(text.split())
        if number % 500_000 == 0:
            say(f"counting words: {number:,} texts, {len(chunks):,} distinct")
    splitter = WordSplitter(lowercase, strip_accents)
    split = tf.function(splitter, input_signature=[tf.TensorSpec([None], tf.string)])
    counts: Counter[str] = Counter()
    items = list(chunks.items())
    for start in range(0, len(items), CHUNKS_AT_ONCE):
        batch = items[start : start + CHUNKS_AT_ONCE]
        words = split(tf.constant([chunk.encode("utf-8", "replace") for chunk, _ in batch]))
        splits, values = words.row_splits.numpy(), words.values.numpy()
        for (_, count), first, last in zip(batch, splits[:-1], splits[1:], strict=True):
            for word in values[first:last]:
                counts[word] += count
    say(f"counted {sum(counts.values()):,} words, {len(counts):,} distinct")
    return Counter({word.decode("utf-8"): count for word, count in counts.items()})


def learn_vocabulary(
    counts: Counter[str],
    vocabulary_size: int,
    lowercase: bool = True,
    character_coverage: float = 0.9999,
    progress: Callable[[str], None] | None = None,
) -> list[str]:
    """Learns a vocabulary from the counts of normalised words. Arguments as in `train_wordpiece`.

    Example:
        >>> len(learn_vocabulary(Counter({"cat": 3, "cats": 2}), 200))
        200
    """
    say = progress or (lambda line: None)
    if not 0 < character_coverage <= 1:
        raise TransformerError(f"character_coverage must be above 0 and at most 1; got {character_coverage}")
    letters = LETTERS if lowercase else LETTERS + string.ascii_uppercase
    known = set(letters) | set(string.punctuation)
    known |= set(_frequent_characters(counts, character_coverage))
    inside = {c for word in counts if len(word) > 1 for c in word[1:]}
    fixed = dict.fromkeys(SPECIAL_TOKENS)
    fixed |= dict.fromkeys(sorted(known))
    fixed |= dict.fromkeys("##" + c for c in sorted(known) if c in letters or c in inside)
    if vocabulary_size < len(fixed):
        raise TransformerError(
            f"vocabulary_size must be at least {len(fixed)}, the special tokens and characters; got {vocabulary_size}"
        )

    words = [
        (word, count)
        for word, count in _most_common(counts)
        if len(word) <= MOST_WORD_CHARACTERS and known.issuperset(word)
    ][:MOST_WORDS]
    pieces = _learn_pieces(words, vocabulary_size, len(fixed), say)
    vocabulary = list(fixed)
    fillers = (word for word, _ in words)
    unused = (f"[unused{i}]" for i in range(vocabulary_size))
    seen = set(fixed)
    for source in (pieces, fillers, unused):
        for token in source:
            if len(vocabulary) == vocabulary_size:
                break
            if token not in seen and (len(token.removeprefix("##")) > 1 or token in known):
                seen.add(token)
                vocabulary.append(token)
    say(f"learned {len(vocabulary):,} tokens")
    return vocabulary


def _most_common(counts: Counter[str]) -> list[tuple[str, int]]:
    """Most frequent first and ties by name, so that the order of the texts does not matter."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _frequent_characters(counts: Counter[str], coverage: float) -> Iterator[str]:
    """The most frequent characters of short enough words, until they cover that fraction of all."""
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        if len(word) <= MOST_WORD_CHARACTERS:
            for character in word:
                characters[character] += count
    missing = characters.total() * coverage
    for character, count in _most_common(characters):
        if missing <= 0:
            return
        missing -= count
        yield character


def _learn_pieces(words: list[tuple[str, int]], size: int, fixed: int, say: Callable[[str], None]) -> list[str]:
    """Pieces from frequent to rare, somewhat more than fit.

    The learner takes the least count of a piece, not the number of pieces. Its own bisection over the
    counts takes a dozen passes; the number falls about as a power of the least count, so interpolating
    in logarithms takes two or three.
    """
    from tensorflow_text.tools.wordpiece_vocab import wordpiece_tokenizer_learner_lib as learner

    if not words or size == fixed:
        return []
    least = max(1, words[min(int(size * 0.8), len(words) - 1)][1])
    tried: dict[int, list[str]] = {}
    while least not in tried and len(tried) < 6:
        say(f"learning from {len(words):,} distinct words: pieces that occur {least:,} times or more")
        tried[least] = learner.learn(
            words,
            vocab_size=size,
            reserved_tokens=list(SPECIAL_TOKENS),
            lower_thresh=least,
            upper_thresh=least,
            max_token_length=MOST_WORD_CHARACTERS,
            max_unique_chars=sys.maxunicode,
        )
        found = len(tried[least])
        say(f"{found:,} pieces")
        if size <= found <= size * (1 + SLACK):
            break
        least = max(1, round(least * (found / (size * (1 + SLACK / 2))) ** _steepness(tried)))
    enough = [pieces for pieces in tried.values() if len(pieces) >= size]
    return min(enough, key=len) if enough else max(tried.values(), key=len)


def _steepness(tried: dict[int, list[str]]) -> float:
    """Estimate p of least count ~ pieces ** -p from the last two tries (0.5 to 4); 1.3 where they do not tell."""
    if len(tried) < 2:
        return 1.3
    (a, first), (b, second) = list(tried.items())[-2:]
    fall = math.log(len(first) / len(second))
    return min(4.0, max(0.5, math.log(b / a) / fall)) if fall else 1.3


def _lines(texts: Iterable[str | os.PathLike] | os.PathLike) -> Iterator[str]:
    """The texts themselves, or the lines of the files they name."""
    if isinstance(texts, str):
        raise TransformerError("texts must be an iterable of strings, or paths of files; got one string")
    if isinstance(texts, os.PathLike):
        texts = [texts]
    for text in texts:
        if not isinstance(text, os.PathLike):
            yield text
            continue
        if not os.path.isfile(text):
            raise TransformerError(f"texts must be files that exist; got {os.fspath(text)}")
        opener = gzip.open if os.fspath(text).endswith(".gz") else open
        with opener(text, "rt", encoding="utf-8", errors="replace") as file:
            yield from file
