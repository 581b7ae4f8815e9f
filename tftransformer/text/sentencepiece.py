"""SentencePiece's unigram tokenizer (Kudo and Richardson 2018) as ALBERT and XLM-RoBERTa use it, in TensorFlow."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tftransformer.errors import TransformerError
from tftransformer.text.base import Tokenizer, Tokens, as_texts, check_switches
from tftransformer.text.normalization import Constants
from tftransformer.text.sentencepiece_model import PieceType, UnigramModel, parse_charsmap, parse_model
from tftransformer.text.sentencepiece_normalization import SPACE_SIGN, SentencePieceNormalizer


class SentencePieceTokenizer(Tokenizer):
    """Text to token ids, with the ids and offsets of Hugging Face's fast ALBERT and XLM-RoBERTa tokenizers.

    The same operations run eagerly, in `tf.data` and in an exported graph; all are core TensorFlow's, so that every
    TF Serving carries them. The ids are the model's own; XLM-RoBERTa's are moved up by one against those of its file
    (`sentencepiece_model.to_fairseq`).

    Differences from Hugging Face, by choice: special tokens are never read from a text, and a written `<s>` is cut
    like any other word, while Hugging Face finds the special token even where it is told to split special tokens
    (the unknown token's name alone is read, and is unknown). User-defined pieces are pieces like any other, as they
    are where Hugging Face reads a tokenizer.json; where it has only a spiece.model, it cuts texts at them first.

    Args:
        model: The contents of a SentencePiece model file.
        lowercase: Lower-case the text. True for ALBERT.
        strip_accents: Decompose characters by compatibility and drop marks. True for ALBERT.
        straighten_quotes: Make `` and '' the straight quotation mark. True for ALBERT.
        add_prefix_space: Let each word begin with the sign for white space. Defaults to True.
        add_start_token: Let each row begin with the start token. False for T5. Defaults to True.
        pair_separators: Separators between the texts of a pair: 1 for ALBERT, 2 (the default) for XLM-RoBERTa.
        unknown_token, pad_token, start_token, separator_token, mask_token: Special tokens as the model writes
            them. Default to XLM-RoBERTa's.

    Raises:
        TransformerError: The model is damaged or of another algorithm, a special token is missing, or a setting is of
            the wrong type.

    Example:
        >>> tokenizer = SentencePieceTokenizer(open("spiece.model", "rb").read())
        >>> tokenizer.decode(tokenizer.encode("Hello  there"))
        'Hello there'
    """

    kind = "sentencepiece"
    settings = (
        "lowercase",
        "strip_accents",
        "straighten_quotes",
        "add_prefix_space",
        "pair_separators",
        "add_start_token",
    )

    def __init__(
        self,
        model: bytes,
        *,
        lowercase: bool = False,
        strip_accents: bool = False,
        straighten_quotes: bool = False,
        add_prefix_space: bool = True,
        pair_separators: int = 2,
        add_start_token: bool = True,
        unknown_token: str = "<unk>",
        pad_token: str = "<pad>",
        start_token: str = "<s>",
        separator_token: str = "</s>",
        mask_token: str = "<mask>",
    ) -> None:
        switches = (lowercase, strip_accents, straighten_quotes, add_prefix_space)
        check_switches(**dict(zip(self.settings, switches)), add_start_token=add_start_token)
        self.add_start_token = add_start_token
        self.lowercase, self.strip_accents, self.straighten_quotes, self.add_prefix_space = switches
        special = (unknown_token, pad_token, start_token, separator_token, mask_token)
        parsed = parse_model(model)
        super().__init__(parsed.pieces, special, pair_separators)
        if parsed.types[self.unknown_id] != PieceType.UNKNOWN:
            unknown = parsed.pieces[parsed.types.index(PieceType.UNKNOWN)]
            raise TransformerError(f"unknown_token must be the model's, {unknown!r}; got {unknown_token!r}")
        self._model = model
        self._normalizer = SentencePieceNormalizer(parse_charsmap(parsed.charsmap), *switches)
        self._segment = UnigramSegmenter(parsed)

    def tokenize(self, texts: tf.Tensor | Sequence[str]) -> tf.RaggedTensor:
        return self.tokenize_with_offsets(texts).ids

    def tokenize_with_offsets(self, texts: tf.Tensor | Sequence[str]) -> Tokens:
        words, text_starts = self._normalizer(as_texts(texts))
        pieces = self._segment(words.characters.points, words.splits)
        splits = tf.gather(pieces.row_splits, words.row_splits)
        origin = tf.cast(tf.repeat(text_starts[:-1], splits[1:] - splits[:-1]), tf.int32)
        starts = tf.gather(words.characters.sources, pieces.firsts) - origin
        ends = tf.gather(words.characters.sources, pieces.lasts) + 1 - origin
        return Tokens(*(tf.RaggedTensor.from_row_splits(x, splits, validate=False) for x in (pieces.ids, starts, ends)))

    def decode(self, ids: Iterable[int]) -> str:
        """The pieces of `ids` joined, with spaces where words began.

        Raises:
            TransformerError: An id is outside the vocabulary.
        """
        text = "".join(map(self.id_to_token, ids)).replace(chr(SPACE_SIGN), " ")
        return text.removeprefix(" ") if self.add_prefix_space else text

    def token_bytes(self, token: str) -> bytes:
        return token.replace(chr(SPACE_SIGN), " ").encode()

    def files(self) -> dict[str, bytes]:
        return {"spiece.model": self._model}

    @staticmethod
    def read_files(files: Mapping[str, bytes]) -> tuple[bytes]:
        return (files["spiece.model"],)


_UNKNOWN_PENALTY = 10.0


class Pieces(NamedTuple):
    """The pieces of a batch of words, one after another.

    `ids` (P,) int32; `firsts` and `lasts` (P,) int32, places of the first and the last character of each;
    `row_splits` (W + 1,) int64.
    """

    ids: tf.Tensor
    firsts: tf.Tensor
    lasts: tf.Tensor
    row_splits: tf.Tensor


class _Matches(NamedTuple):
    """Pieces found in the words: `starts` (M,), `ends` (M,) the last character, `ids` (M,); all int32."""

    starts: tf.Tensor
    ends: tf.Tensor
    ids: tf.Tensor


class UnigramSegmenter:
    """Cuts words into pieces.

    A character that no piece of one character covers can be unknown, ten below the worst score of all pieces;
    neighbouring unknown characters become one unknown token. Of equally probable segmentations it takes the one
    whose last piece is longest.

    Args:
        model: The pieces. Control pieces are never found in a text.

    Example:
        >>> types = (PieceType.UNKNOWN, PieceType.NORMAL, PieceType.NORMAL)
        >>> segment = UnigramSegmenter(UnigramModel(("<unk>", "a", "ab"), (0.0, -1.0, -1.5), types))
        >>> points = tf.constant([ord(c) for c in "aabxx"])
        >>> segment(points, tf.constant([0, 5], tf.int64)).ids.numpy().tolist()
        [1, 2, 0]
    """

    def __init__(self, model: UnigramModel) -> None:
        self.unknown_id = model.types.index(PieceType.UNKNOWN)
        ids = [i for i, kind in enumerate(model.types) if kind != PieceType.CONTROL]
        self.trie = build_trie([model.pieces[i] for i in ids], ids)
        # An unknown character has the number behind those of the pieces: the unknown piece may be written, too.
        self.unknown_character = len(model.pieces)
        self.scores = np.array([*model.scores, min(model.scores) - _UNKNOWN_PENALTY], np.float64)
        self._constant = Constants()
        self._compiled = tf.function(
            self._segment,
            input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.int64)],
            autograph=False,
        )

    def __call__(self, points: tf.Tensor, row_splits: tf.Tensor) -> Pieces:
        """Pieces of words.

        Args:
            points: int32 (C,), the code points of all words.
            row_splits: int64 (W + 1,), where the words begin; none is empty.
        """
        return Pieces(*self._compiled(points, row_splits))

    def _segment(self, points: tf.Tensor, row_splits: tf.Tensor) -> Pieces:
        splits = tf.cast(row_splits, tf.int32)
        lengths = splits[1:] - splits[:-1]
        ends = tf.repeat(splits[1:], lengths)
        matches = self._matches(points, ends)
        chosen, ids = self._best_pieces(matches, splits, lengths)
        return self._trace(chosen, ids, splits, lengths)

    def _matches(self, points: tf.Tensor, ends: tf.Tensor) -> _Matches:
        """Every piece at every place of the words, and unknown characters where there may be some."""
        letters, edges, children, pieces = self._constant.tables("trie", self.trie)
        number = tf.minimum(tf.searchsorted(letters, points), len(self.trie.letters) - 1)
        known = tf.gather(letters, number) == points
        number = tf.where(known, number, -1)
        first = tf.where(known, tf.gather(pieces, tf.maximum(number, 0)), -1)
        places = tf.range(tf.size(points))
        single = tf.where(first >= 0, first, self.unknown_character)
        (starts,) = _select(known, places)
        found = _Matches(places, places, single)
        state = (starts, starts + 1, tf.gather(number, starts), found)

        def deeper(starts, following, nodes, found):
            inside = following < tf.gather(ends, starts)
            starts, following, nodes = _select(inside, starts, following, nodes)
            letter = tf.gather(number, following)
            edge = tf.cast(nodes, tf.int64) * len(self.trie.letters) + tf.cast(letter, tf.int64)
            place = tf.minimum(tf.searchsorted(edges, edge), len(self.trie.edges) - 1)
            leads = (tf.gather(edges, place) == edge) & (letter >= 0)
            starts, following, place = _select(leads, starts, following, place)
            nodes = tf.gather(children, place)
            piece = tf.gather(pieces, nodes)
            new = _select(piece >= 0, starts, following, piece)
            found = _Matches(*(tf.concat(pair, 0) for pair in zip(found, new, strict=True)))
            return starts, following + 1, nodes, found

        if len(self.trie.edges):
            flat = tf.TensorShape([None])
            state = tf.while_loop(
                lambda starts, *_: tf.size(starts) > 0,
                deeper,
                state,
                shape_invariants=(flat, flat, flat, _Matches(flat, flat, flat)),
            )
        return state[3]

    def _best_pieces(self, matches: _Matches, splits: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Of the best segmentation up to each character: the last piece's length and number, (C,) int32."""
        # Words from long to short, and of all words the first characters, then the second ones, ...: so each step
        # has its characters in a row, and the words that are still running come first.
        order = tf.argsort(lengths, direction="DESCENDING", stable=True)
        rank = tf.scatter_nd(order[:, tf.newaxis], tf.range(tf.size(order)), tf.shape(order))
        longest = tf.reduce_max(tf.concat([lengths, [0]], 0))
        position = tf.range(splits[-1]) - tf.repeat(splits[:-1], lengths)
        running = tf.math.bincount(position, minlength=longest, maxlength=longest, dtype=tf.int32)
        steps = tf.concat([[0], tf.cumsum(running)], 0)
        place = tf.gather(steps, position) + tf.repeat(rank, lengths)

        width = tf.reduce_max(tf.concat([matches.ends - matches.starts + 1, [1]], 0))
        scores = tf.gather(self._constant("scores", self.scores), matches.ids)
        cells = tf.stack([tf.gather(place, matches.ends), width - 1 - (matches.ends - matches.starts)], 1)
        shape = tf.stack([splits[-1], width])
        table = tf.tensor_scatter_nd_update(tf.fill(shape, tf.constant(-np.inf, tf.float64)), cells, scores)
        ids = tf.scatter_nd(cells, matches.ids, shape)
        # The last `width` scores of each running word, the newest in the last column.
        words = tf.size(lengths)
        before = tf.fill(tf.stack([words, width - 1]), tf.constant(-np.inf, tf.float64))
        window = tf.concat([before, tf.zeros(tf.stack([words, 1]), tf.float64)], 1)
        chosen = tf.TensorArray(tf.int32, longest, element_shape=[None], infer_shape=False)

        def step(i, window, chosen):
            candidates = window[: running[i]] + table[steps[i] : steps[i + 1]]
            # Of equal ones the first is taken: the longest piece.
            best = tf.argmax(candidates, 1, tf.int32)
            score = tf.reduce_max(candidates, 1, keepdims=True)
            window = tf.concat([window[: running[i], 1:], score], 1)
            return i + 1, window, chosen.write(i, width - best)

        _, _, chosen = tf.while_loop(
            lambda i, *_: i < longest,
            step,
            (0, window, chosen),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, None]), tf.TensorShape(None)),
        )
        flat = tf.cond(longest > 0, chosen.concat, lambda: tf.zeros([0], tf.int32))
        chosen_ids = tf.gather_nd(ids, tf.stack([tf.range(splits[-1]), width - flat], 1))
        return tf.gather(flat, place), tf.gather(chosen_ids, place)

    def _trace(self, chosen: tf.Tensor, ids: tf.Tensor, splits: tf.Tensor, lengths: tf.Tensor) -> Pieces:
        """The best segmentation, from the ends of the words backwards."""
        size = splits[-1]
        word = tf.repeat(tf.range(tf.size(lengths)), lengths)
        # Every character points at the last one of the piece before; the first piece's at `size`, a place of its own.
        previous = tf.range(size) - chosen
        previous = tf.where(previous < tf.gather(splits, word), size, previous)
        previous = tf.concat([previous, [size]], 0)
        reached = tf.scatter_nd((splits[1:] - 1)[:, tf.newaxis], tf.ones_like(splits[1:]), [size + 1])

        def double(previous, reached, _):
            # After k rounds: everything that 2**k steps back lead to, in one jump.
            further = tf.tensor_scatter_nd_max(reached, previous[:, tf.newaxis], reached)
            return tf.gather(previous, previous), further, tf.reduce_any(previous < size)

        _, reached, _ = tf.while_loop(lambda previous, reached, more: more, double, (previous, reached, size > 0))
        lasts = tf.cast(tf.where(reached[:-1] > 0)[:, 0], tf.int32)
        spans = tf.gather(chosen, lasts)
        ids = tf.gather(ids, lasts)
        ids = tf.where(ids == self.unknown_character, self.unknown_id, ids)
        unknown = ids == self.unknown_id
        word = tf.gather(word, lasts)
        joined = unknown[1:] & unknown[:-1] & (word[1:] == word[:-1])
        keeps = tf.concat([tf.logical_not(joined), tf.ones_like(unknown[:1])], 0)
        begins = tf.concat([tf.ones_like(unknown[:1]), tf.logical_not(joined)], 0)
        (firsts,) = _select(begins, lasts - spans + 1)
        ids, lasts, word = _select(keeps, ids, lasts, word)
        counts = tf.math.bincount(word, minlength=tf.size(lengths), maxlength=tf.size(lengths), dtype=tf.int64)
        return Pieces(ids, firsts, lasts, tf.concat([tf.zeros([1], tf.int64), tf.cumsum(counts)], 0))


def _select(mask: tf.Tensor, *values: tf.Tensor) -> list[tf.Tensor]:
    """The values where `mask` holds. Several `tf.boolean_mask` build ten times the graph."""
    places = tf.where(mask)[:, 0]
    return [tf.gather(value, places) for value in values]


# The pieces of a unigram model as a trie over characters, in sorted arrays.


class Trie(NamedTuple):
    """Trie of the pieces, to find those that begin at a character of a text.

    A character c has the number `letters.searchsorted(c)`, if it is there. Nodes are numbered by depth; those of
    one character come first, in the order of `letters`, and node 0 is the first of them. From node n on, the
    character with the number k leads to node `children[j]` with `edges[j] == n * len(letters) + k`.

    Attributes:
        letters: (A,) int32, every character of the pieces, ascending.
        edges: (E,) int64, ascending.
        children: (E,) int32.
        pieces: (N,) int32, the piece that ends in a node, or -1.
    """

    letters: np.ndarray
    edges: np.ndarray
    children: np.ndarray
    pieces: np.ndarray


def build_trie(pieces: Sequence[str], ids: Sequence[int]) -> Trie:
    """The trie of `pieces`, the i-th with the id `ids[i]`.

    Example:
        >>> trie = build_trie(["a", "ab"], [7, 8])
        >>> trie.letters.tolist(), trie.edges.tolist(), trie.children.tolist(), trie.pieces.tolist()
        ([97, 98], [1], [2], [7, -1, 8])
    """
    points = np.frombuffer("".join(pieces).encode("utf-32-le"), np.int32)
    lengths = np.array([len(piece) for piece in pieces], np.int64)
    ids = np.asarray(ids, np.int32)
    firsts = np.cumsum(lengths) - lengths
    letters, numbers = np.unique(points, return_inverse=True)
    nodes = numbers[firsts]
    found = [np.full(len(letters), -1, np.int32)]
    found[0][nodes[lengths == 1]] = ids[lengths == 1]
    edges, children, num_nodes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], len(letters)
    for depth in range(1, int(lengths.max())):
        alive = lengths > depth
        nodes, firsts, lengths, ids = nodes[alive], firsts[alive], lengths[alive], ids[alive]
        new, places = np.unique(nodes * len(letters) + numbers[firsts + depth], return_inverse=True)
        nodes = num_nodes + places
        edges.append(new)
        children.append(num_nodes + np.arange(len(new)))
        found.append(np.full(len(new), -1, np.int32))
        found[-1][places[lengths == depth + 1]] = ids[lengths == depth + 1]
        num_nodes += len(new)
    # Nodes grow with depth, and edges with nodes: the levels one after another are in order already.
    return Trie(
        letters.astype(np.int32),
        np.concatenate(edges),
        np.concatenate(children).astype(np.int32),
        np.concatenate(found),
    )
