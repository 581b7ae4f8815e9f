"""Initial weights of a narrower and deeper student, made from its teacher's.

The student's residual stream is the teacher's, projected to the principal components (D_teacher, D) of the outputs of
all its blocks, as SliceGPT does for slicing (Ashkboos et al. 2024, arXiv 2401.15024). Each teacher block is split over
k student blocks, which take equal parts of its heads and of its feed-forward neurons; what they read from the
stream is projected, and what they write to it is fitted by ridge regression to the teacher's stream, block after
block, on real text. Training does the rest.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from keras import ops

from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError

Weights = Mapping[str, np.ndarray]

# The last output is what the student is for: it weighs as much as this many others in the projection.
LAST_OUTPUT_WEIGHT = 3.0
# Fraction of the mean variance added to the normal equations: features are nearly collinear.
RIDGE = 1e-3
# Root mean square of a token vector; BERT's are near it, and the norm behind takes out the scale.
TOKEN_RMS = 0.05


def can_split_blocks(teacher: TransformerConfig, student: TransformerConfig) -> bool:
    """Return whether blocks of this teacher can be split over this student's."""
    parts = student.num_layers // teacher.num_layers
    if isinstance(teacher.num_heads, tuple) or isinstance(student.num_heads, tuple):
        return False
    return (
        student.num_layers % teacher.num_layers == 0
        and student.hidden_dim <= teacher.hidden_dim
        and student.head_dim == teacher.head_dim
        and student.num_heads * parts <= teacher.num_heads
        and student.intermediate_dim * parts <= teacher.intermediate_dim
    )


def inherit(
    weights: Weights,
    teacher: TransformerConfig,
    student: TransformerConfig,
    token_ids: np.ndarray,
    pieces: Sequence[Sequence[int]],
    *,
    pad_id: int = 0,
    seed: int = 0,
    progress: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Weights for a student, made from its teacher's.

    Args:
        weights: The teacher's, by address.
        teacher: The teacher's config; both models must be of the family "bert".
        student: The student's config.
        token_ids: (B, T) rows of real text in the teacher's vocabulary, padded with `pad_id`; some tens of
            thousands of tokens are enough.
        pieces: For each piece of the student's vocabulary the teacher's ids of it, see `teacher_pieces`.
        pad_id: The teacher's padding id.
        seed: Random seed of the rotation inside the projection.
        progress: Called with one line for each finished teacher block.

    Returns:
        Weights by address (blocks only where `can_split_blocks` says so) and the projection (D_teacher, D): the
        student's output imitates the teacher's times it.

    Raises:
        TransformerError: The student is wider than the teacher.
    """
    if student.hidden_dim > teacher.hidden_dim:
        raise TransformerError(
            f"hidden_dim must be at most the teacher's, {teacher.hidden_dim}; got {student.hidden_dim}"
        )
    mask = token_ids != pad_id
    stream = teacher_stream(weights, teacher, token_ids, mask)
    projection = shared_projection([x for x, _ in stream], mask, student.hidden_dim, seed)
    inherited, x = _embeddings(weights, student, token_ids, pieces, stream[0][0], mask, projection)
    if can_split_blocks(teacher, student):
        parts = student.num_layers // teacher.num_layers
        for i in range(teacher.num_layers):
            source = _block(weights, i)
            before, attended, after = (y @ projection for y in (stream[i][0], stream[i + 1][1], stream[i + 1][0]))
            for part in range(parts):
                target = before + (after - before) * ((part + 1) / parts)
                block, x = _split_block(source, student, part, x, mask, attended, target, projection)
                number = i * parts + part
                inherited.update({f"encoder_block_{number}/{name}": array for name, array in block.items()})
            error = np.square(x - after)[mask].sum() / np.square(after - after[mask].mean(0))[mask].sum()
            progress(f"block {i + 1}/{teacher.num_layers} of the teacher split, relative error {error:.3f}")
    return {name: array.astype("float32") for name, array in inherited.items()}, projection.astype("float32")


def shared_projection(stream: Sequence[np.ndarray], mask: np.ndarray, width: int, seed: int) -> np.ndarray:
    """Orthonormal columns (D, `width`): the directions that carry most of several (B, T, D) arrays.

    A layer norm takes out the mean over its dimensions, that is the part of the stream along (1, ..., 1).
    It is rotated so that this direction is the least of those kept.
    """
    moments = 0.0
    for i, x in enumerate(stream):
        rows = x[mask]
        weight = LAST_OUTPUT_WEIGHT if i == len(stream) - 1 else 1.0
        product = ops.convert_to_numpy(ops.matmul(rows.T, rows)).astype("float64")
        moments = moments + weight * product / np.trace(product)
    directions = np.linalg.eigh(moments)[1][:, ::-1][:, :width]
    start = np.random.default_rng(seed).normal(size=(width, width))
    start[:, 0] = 1.0
    rotation = np.roll(np.linalg.qr(start)[0], -1, axis=1)
    return (directions @ rotation.T).astype("float32")


def teacher_stream(
    weights: Weights, config: TransformerConfig, token_ids: np.ndarray, mask: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """(output, state after the attention norm) of the embeddings and of each block, all (B, T, D)."""
    token, position, segment = (weights[f"embeddings/{name}/embeddings"] for name in ("token", "position", "segment"))
    x = _layer_norm(token[token_ids] + position[: token_ids.shape[1]] + segment[0], *_norm(weights, "embeddings/norm"))
    stream: list[tuple[np.ndarray, np.ndarray | None]] = [(x, None)]
    for i in range(config.num_layers):
        block = _block(weights, i)
        heads = _attend(x, mask, block, config.heads_of_block(i)[0], config.head_dim)
        attended = _layer_norm(x + _dense(heads, block, "attention/output"), *_norm(block, "attention_norm"))
        neurons = _neurons(attended, block)
        x = _layer_norm(attended + _dense(neurons, block, "feed_forward/output"), *_norm(block, "feed_forward_norm"))
        stream.append((x, attended))
    return stream


def _embeddings(weights, student, token_ids, pieces, x0, mask, projection):
    """The student's embedding weights, and its embeddings of the sample (B, T, D)."""
    # The norm's gain and its subtraction of the mean are linear; its division cancels in the student's norm.
    gain = weights["embeddings/norm/gamma"]
    token, position, segment = (
        ((table - table.mean(-1, keepdims=True)) * gain) @ projection
        for table in (weights[f"embeddings/{name}/embeddings"] for name in ("token", "position", "segment"))
    )
    positions = np.zeros((student.max_sequence_length, projection.shape[1]), "float32")
    known = min(len(position), student.max_sequence_length)
    positions[:known] = position[:known]
    summed = token[token_ids] + position[: token_ids.shape[1]] + segment[0]
    scale = TOKEN_RMS / math.sqrt(float(np.square(token).mean()))
    gamma, beta = _fit_norm(summed, x0 @ projection, mask)
    return {
        "embeddings/token/embeddings": np.stack([token[list(ids)].mean(0) for ids in pieces]) * scale,
        "embeddings/position/embeddings": positions * scale,
        "embeddings/segment/embeddings": segment[: student.num_segments] * scale,
        "embeddings/norm/gamma": gamma,
        "embeddings/norm/beta": beta,
    }, _layer_norm(summed, gamma, beta)


def _split_block(source, student, part, x, mask, attended, target, projection):
    """One student block: its part of a teacher block, fitted to `attended`, then `target`."""
    heads_wide = student.num_heads * student.head_dim
    heads = slice(part * heads_wide, (part + 1) * heads_wide)
    neurons = slice(part * student.intermediate_dim, (part + 1) * student.intermediate_dim)
    block = {}
    for name in ("query", "key", "value"):
        block[f"attention/{name}/kernel"] = projection.T @ source[f"attention/{name}/kernel"][:, heads]
        block[f"attention/{name}/bias"] = source[f"attention/{name}/bias"][heads]
    read = _attend(x, mask, block, student.num_heads, student.head_dim)
    x = _fit_output(block, "attention", "attention/output", read, x, attended, mask)
    block["feed_forward/intermediate/kernel"] = projection.T @ source["feed_forward/intermediate/kernel"][:, neurons]
    block["feed_forward/intermediate/bias"] = source["feed_forward/intermediate/bias"][neurons]
    read = _neurons(x, block)
    x = _fit_output(block, "feed_forward", "feed_forward/output", read, x, target, mask)
    return block, x


def _fit_output(block, half, output, read, x, target, mask):
    """Fit the output projection and the norm of one half of a block; returns its output."""
    block[f"{output}/kernel"], block[f"{output}/bias"] = _ridge(read[mask], (target - x)[mask])
    summed = x + _dense(read, block, output)
    gamma, beta = _fit_norm(summed, target, mask)
    block[f"{half}_norm/gamma"], block[f"{half}_norm/beta"] = gamma, beta
    return _layer_norm(summed, gamma, beta)


def _ridge(features, targets):
    """Kernel and bias of the linear map from features to targets with the least squared error."""
    mean, target_mean = features.mean(0), targets.mean(0)
    centred = features - mean
    # The sums in float32 for speed, the solution in float64 because they are nearly singular.
    gram = ops.convert_to_numpy(ops.matmul(centred.T, centred)).astype("float64")
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    kernel = np.linalg.solve(gram, centred.T @ (targets - target_mean))
    return kernel.astype("float32"), (target_mean - mean @ kernel).astype("float32")


def _fit_norm(summed, target, mask):
    """gamma and beta with which a layer norm of `summed` comes closest to `target`."""
    rows, wanted = _layer_norm(summed)[mask], target[mask]
    centred = rows - rows.mean(0)
    gamma = (centred * (wanted - wanted.mean(0))).sum(0) / np.square(centred).sum(0)
    return gamma, wanted.mean(0) - rows.mean(0) * gamma


def _attend(x, mask, block, num_heads, head_dim):
    """Self-attention up to its output projection: (B, T, N*H)."""
    batch, length, _ = x.shape
    query, key, value = (
        ops.transpose(
            ops.reshape(_dense(x, block, f"attention/{name}"), (batch, length, num_heads, head_dim)), (0, 2, 1, 3)
        )
        for name in ("query", "key", "value")
    )
    scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) / math.sqrt(head_dim)
    scores = ops.softmax(scores - 1e9 * (1.0 - mask[:, None, None, :].astype("float32")))
    heads = ops.transpose(ops.matmul(scores, value), (0, 2, 1, 3))
    return ops.convert_to_numpy(ops.reshape(heads, (batch, length, num_heads * head_dim)))


def _block(weights, number):
    prefix = f"encoder_block_{number}/"
    return {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}


def _dense(x, block, name):
    # Through Keras: NumPy multiplies (B, T, D) one row at a time.
    rows = ops.matmul(x.reshape(-1, x.shape[-1]), block[f"{name}/kernel"]) + block[f"{name}/bias"]
    return ops.convert_to_numpy(rows).reshape(*x.shape[:-1], -1)


def _neurons(x, block):
    return ops.convert_to_numpy(ops.gelu(_dense(x, block, "feed_forward/intermediate"), approximate=False))


def _norm(block, name):
    return block[f"{name}/gamma"], block[f"{name}/beta"]


def _layer_norm(x, gamma=1.0, beta=0.0):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-12) * gamma + beta


def teacher_pieces(vocabulary: Sequence[str], teacher: Sequence[str], unknown_id: int) -> list[list[int]]:
    """For each piece of a WordPiece vocabulary the teacher's ids of it: the same piece, else longest pieces first.

    Example:
        >>> teacher_pieces(["a", "##bc"], ["[UNK]", "a", "##b", "##c"], 0)
        [[1], [2, 3]]
    """
    ids = {piece: i for i, piece in enumerate(teacher)}

    def pieces_of(piece: str) -> list[int]:
        if piece in ids:
            return [ids[piece]]
        word, prefix = piece.removeprefix("##"), "##" if piece.startswith("##") else ""
        found: list[int] = []
        while word:
            ends = range(len(word), 0, -1)
            end = next((end for end in ends if prefix + word[:end] in ids), None)
            if end is None:
                return [unknown_id]
            found.append(ids[prefix + word[:end]])
            word, prefix = word[end:], "##"
        return found

    return [pieces_of(piece) for piece in vocabulary]
