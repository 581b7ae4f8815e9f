"""One WordPiece vocabulary spelled in another's pieces."""

from collections.abc import Sequence


def spell_pieces(vocabulary: Sequence[str], other: Sequence[str], unknown_id: int) -> list[list[int]]:
    """Each piece of a WordPiece vocabulary as ids of another: the same piece, else longest pieces first.

    Example:
        >>> spell_pieces(["a", "##bc"], ["[UNK]", "a", "##b", "##c"], 0)
        [[1], [2, 3]]
    """
    ids = {piece: i for i, piece in enumerate(other)}

    def spell(piece: str) -> list[int]:
        if piece in ids:
            return [ids[piece]]
        word, prefix = piece.removeprefix("##"), "##" if piece.startswith("##") else ""
        found: list[int] = []
        while word:
            for end in range(len(word), 0, -1):
                if prefix + word[:end] in ids:
                    found.append(ids[prefix + word[:end]])
                    word, prefix = word[end:], "##"
                    break
            else:
                return [unknown_id]
        return found

    return [spell(piece) for piece in vocabulary]
