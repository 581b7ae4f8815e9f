"""The pieces of a unigram model as a trie over characters, in sorted arrays."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Trie(NamedTuple):
    """Which pieces a text goes through from a character on.

    A character c has the number `letters.searchsorted(c)`, if it stands there. Nodes are numbered by depth; those of
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
