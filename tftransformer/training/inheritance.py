"""A narrower and deeper student that starts as its teacher, projected and dealt out over its blocks.

Random weights spend most of a short run learning what a teacher's weights already say. Here the student's
residual stream is the teacher's, seen in the directions that carry most of it: a principal component basis
A (D_teacher, D) over the outputs of all its blocks, as SliceGPT uses for slicing (Ashkboos et al. 2024,
arXiv 2401.15024). Each teacher block is dealt out over k student blocks, which take equal shares of its heads
and of its feed-forward neurons; what they read from the stream is projected, and what they write to it
is fitted by ridge regression to the teacher's stream, block after block, on real text. Gradients do the rest.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from keras import ops

from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError

Weights = Mapping[str, np.ndarray]

# The last output is what the student is for: it weighs as much as this many others in the basis.
LAST_OUTPUT_WEIGHT = 3.0
# Fraction of the mean variance added to the normal equations: features are nearly collinear.
RIDGE = 1e-3
# Root mean square of a token vector; BERT's are near it, and the norm behind takes out the scale.
TOKEN_RMS = 0.05


def can_deal_out(teacher: TransformerConfig, student: TransformerConfig) -> bool:
    """Whether blocks of this teacher can be dealt out over this student's."""
    shares = student.num_layers // teacher.num_layers
    if isinstance(teacher.num_heads, tuple) or isinstance(student.num_heads, tuple):
        return False
    return (
        student.num_layers % teacher.num_layers == 0
        and student.hidden_dim <= teacher.hidden_dim
        and student.head_dim == teacher.head_dim
        and student.num_heads * shares <= teacher.num_heads
        and student.intermediate_dim * shares <= teacher.intermediate_dim
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
        teacher: Its config; both models must be of the family "bert".
        student: The student's config.
        token_ids: (B, T) rows of real text in the teacher's vocabulary, padded with `pad_id`; some tens of
            thousands of tokens are enough.
        pieces: For each piece of the student's vocabulary the teacher's ids that spell it.
        pad_id: The teacher's padding id.
        seed: Of the rotation inside the basis.
        progress: Called with one line for each finished teacher block.

    Returns:
        Weights by address (blocks only where `can_deal_out` says so) and the basis A (D_teacher, D): the
        student's output imitates the teacher's times A.

    Raises:
        TransformerError: The student is wider than the teacher.
    """
    if student.hidden_dim > teacher.hidden_dim:
        raise TransformerError(
            f"hidden_dim must be at most the teacher's, {teacher.hidden_dim}; got {student.hidden_dim}"
        )
    mask = token_ids != pad_id
    stream = teacher_stream(weights, teacher, token_ids, mask)
    basis = shared_basis([x for x, _ in stream], mask, student.hidden_dim, seed)
    inherited, x = _embeddings(weights, student, token_ids, pieces, stream[0][0], mask, basis)
    if can_deal_out(teacher, student):
        shares = student.num_layers // teacher.num_layers
        for i in range(teacher.num_layers):
            source = _block(weights, i)
            before, attended, after = (y @ basis for y in (stream[i][0], stream[i + 1][1], stream[i + 1][0]))
            for share in range(shares):
                target = before + (after - before) * ((share + 1) / shares)
                block, x = _share_of_block(source, student, share, x, mask, attended, target, basis)
                number = i * shares + share
                inherited.update({f"encoder_block_{number}/{name}": array for name, array in block.items()})
            error = np.square(x - after)[mask].sum() / np.square(after - after[mask].mean(0))[mask].sum()
            progress(
                f"block {i + 1}/{teacher.num_layers} of the teacher dealt out, relative error {error:.3f}"
            )
    return {name: array.astype("float32") for name, array in inherited.items()}, basis.astype("float32")


def shared_basis(stream: Sequence[np.ndarray], mask: np.ndarray, width: int, seed: int = 0) -> np.ndarray:
    """An orthonormal basis (D, `width`) of the directions that carry most of several (B, T, D) arrays.

    A layer norm takes out the mean over its dimensions, that is the part of the stream along (1, ..., 1).
    The basis is rotated so that this direction is the least of those kept.
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
    x = _layer_norm(
        _summed_embeddings(weights, token_ids),
        weights["embeddings/norm/gamma"],
        weights["embeddings/norm/beta"],
    )
    stream: list[tuple[np.ndarray, np.ndarray | None]] = [(x, None)]
    for i in range(config.num_layers):
        block = _block(weights, i)
        heads = _attend(x, mask, block, config.heads_of_block(i)[0], config.head_dim)
        attended = _layer_norm(x + _dense(heads, block, "attention/output"), *_norm(block, "attention_norm"))
        neurons = gelu(_dense(attended, block, "feed_forward/intermediate"))
        x = _layer_norm(
            attended + _dense(neurons, block, "feed_forward/output"), *_norm(block, "feed_forward_norm")
        )
        stream.append((x, attended))
    return stream


def _embeddings(weights, student, token_ids, pieces, x0, mask, basis):
    """The student's embedding weights, and its embeddings of the sample (B, T, D)."""
    # The norm's gain and its subtraction of the mean are linear; its division cancels in the student's norm.
    gain = weights["embeddings/norm/gamma"]
    token, position, segment = (
        ((table - table.mean(-1, keepdims=True)) * gain) @ basis
        for table in (weights[f"embeddings/{name}/embeddings"] for name in ("token", "position", "segment"))
    )
    positions = np.zeros((student.max_sequence_length, basis.shape[1]), "float32")
    known = min(len(position), student.max_sequence_length)
    positions[:known] = position[:known]
    summed = token[token_ids] + position[: token_ids.shape[1]] + segment[0]
    scale = TOKEN_RMS / math.sqrt(float(np.square(token).mean()))
    gamma, beta = _fit_norm(summed, x0 @ basis, mask)
    return {
        "embeddings/token/embeddings": np.stack([token[list(ids)].mean(0) for ids in pieces]) * scale,
        "embeddings/position/embeddings": positions * scale,
        "embeddings/segment/embeddings": segment[: student.num_segments] * scale,
        "embeddings/norm/gamma": gamma,
        "embeddings/norm/beta": beta,
    }, _layer_norm(summed, gamma, beta)


def _share_of_block(source, student, share, x, mask, attended, target, basis):
    """One student block: its share of a teacher block, fitted to reach `attended`, then `target`."""
    heads_wide = student.num_heads * student.head_dim
    heads = slice(share * heads_wide, (share + 1) * heads_wide)
    neurons = slice(share * student.intermediate_dim, (share + 1) * student.intermediate_dim)
    block = {}
    for name in ("query", "key", "value"):
        block[f"attention/{name}/kernel"] = basis.T @ source[f"attention/{name}/kernel"][:, heads]
        block[f"attention/{name}/bias"] = source[f"attention/{name}/bias"][heads]
    read = _attend(x, mask, block, student.num_heads, student.head_dim)
    x = _fit_output(block, "attention", "attention/output", read, x, attended, mask)
    block["feed_forward/intermediate/kernel"] = (
        basis.T @ source["feed_forward/intermediate/kernel"][:, neurons]
    )
    block["feed_forward/intermediate/bias"] = source["feed_forward/intermediate/bias"][neurons]
    read = gelu(_dense(x, block, "feed_forward/intermediate"))
    x = _fit_output(block, "feed_forward", "feed_forward/output", read, x, target, mask)
    return block, x


def _fit_output(block, part, output, read, x, target, mask):
    """Fit the output projection and the norm of one half of a block; returns its output."""
    block[f"{output}/kernel"], block[f"{output}/bias"] = _ridge(read[mask], (target - x)[mask])
    summed = x + _dense(read, block, output)
    gamma, beta = _fit_norm(summed, target, mask)
    block[f"{part}_norm/gamma"], block[f"{part}_norm/beta"] = gamma, beta
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
            ops.reshape(_dense(x, block, f"attention/{name}"), (batch, length, num_heads, head_dim)),
            (0, 2, 1, 3),
        )
        for name in ("query", "key", "value")
    )
    scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) / math.sqrt(head_dim)
    scores = ops.softmax(scores - 1e9 * (1.0 - mask[:, None, None, :].astype("float32")))
    heads = ops.transpose(ops.matmul(scores, value), (0, 2, 1, 3))
    return ops.convert_to_numpy(ops.reshape(heads, (batch, length, num_heads * head_dim)))


def gelu(x: np.ndarray) -> np.ndarray:
    """x times the normal distribution function at x (Hendrycks & Gimpel 2016)."""
    return ops.convert_to_numpy(ops.gelu(x, approximate=False))


def _summed_embeddings(weights, token_ids):
    position = weights["embeddings/position/embeddings"][: token_ids.shape[1]]
    return (
        weights["embeddings/token/embeddings"][token_ids]
        + position
        + weights["embeddings/segment/embeddings"][0]
    )


def _block(weights, number):
    prefix = f"encoder_block_{number}/"
    return {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}


def _dense(x, block, name):
    # Through Keras: NumPy multiplies (B, T, D) one row at a time.
    rows = ops.matmul(x.reshape(-1, x.shape[-1]), block[f"{name}/kernel"]) + block[f"{name}/bias"]
    return ops.convert_to_numpy(rows).reshape(*x.shape[:-1], -1)


def _norm(block, name):
    return block[f"{name}/gamma"], block[f"{name}/beta"]


def _layer_norm(x, gamma=1.0, beta=0.0):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-12) * gamma + beta
