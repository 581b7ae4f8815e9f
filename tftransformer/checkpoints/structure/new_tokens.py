"""A vocabulary with tokens of one's own at its end, each checked to be one that a text can hold."""

from collections.abc import Sequence

from tftransformer.data.tokenizers.spec import TokenizerSpec
from tftransformer.data.tokenizers.vocabulary import vocabulary_bytes
from tftransformer.errors import TransformerError

_JOINER = "##"


def append_tokens(tokenizer: TokenizerSpec, tokens: Sequence[str]) -> TokenizerSpec:
    """A WordPiece tokenizer with more tokens; the ids of the old ones stay.

    New tokens are pieces like all others: normalised text that starts a word, or goes on with one where they
    are written with `##`, and the longest piece that fits wins. So "spect" also starts "spectral", and a word
    with a space or a hyphen in it, which is several words to the tokenizer, cannot be a token.

    Args:
        tokenizer: Of the kind "wordpiece".
        tokens: As normalised text has them (in lower case, for an uncased vocabulary).

    Raises:
        TransformerError: Another kind of tokenizer; a token that is there already, stands twice, or that no
            normalised text can hold.
    """
    if isinstance(tokens, str) or not all(isinstance(token, str) for token in tokens):
        raise TransformerError(f"new_tokens must be a list of strings; got {tokens!r:.80}")
    if tokenizer.kind != "wordpiece":
        raise TransformerError(
            f"new_tokens can be added to a wordpiece vocabulary alone; this one is {tokenizer.kind}, whose "
            "pieces follow from merges or scores that a new one does not have"
        )
    tokens = tuple(tokens)
    old = {token: i for i, token in enumerate(tokenizer.vocabulary)}
    for i, token in enumerate(tokens):
        if token in old:
            raise TransformerError(f"new_tokens must be new; {token!r} has the id {old[token]} already")
        if token in tokens[:i]:
            raise TransformerError(f"new_tokens must hold each token once; {token!r} stands twice")
    result = _with_vocabulary(tokenizer, (*tokenizer.vocabulary, *tokens))
    _check_reachable(tokenizer, tokens, old)
    return result


def _check_reachable(tokenizer: TokenizerSpec, tokens: tuple[str, ...], old: dict[str, int]) -> None:
    """Every token (without its ##) must be what the tokenizer makes of it: one word, unchanged."""
    bodies = [token.removeprefix(_JOINER) for token in tokens]
    added = [body for body in dict.fromkeys(bodies) if body and body not in old]
    trial = _with_vocabulary(tokenizer, (*tokenizer.vocabulary, *added)).build()
    for token, body, ids in zip(tokens, bodies, trial.tokenize(bodies).to_list() if bodies else ()):
        pieces = [trial.id_to_token(i) for i in ids]
        if pieces != [body]:
            read = " ".join(pieces) or "nothing"
            capitals = body != body.lower() and tokenizer.settings.get("lowercase", True)
            raise TransformerError(
                f"new_tokens must be words as the tokenizer reads them; {token!r} can never occur, since the text "
                f"{body!r} is read as {read}{'; write it in lower case' if capitals else ''}"
            )


def _with_vocabulary(tokenizer: TokenizerSpec, vocabulary: tuple[str, ...]) -> TokenizerSpec:
    files = {**tokenizer.files, "vocab.txt": vocabulary_bytes(vocabulary)}
    return TokenizerSpec(tokenizer.kind, vocabulary, tokenizer.settings, files)
