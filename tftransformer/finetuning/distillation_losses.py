"""The two losses of distillation, as functions of tensors.

Soft labels: Hinton et al. 2015, "Distilling the knowledge in a neural network" (arXiv 1503.02531). Hidden states: Jiao et
al. 2019, TinyBERT (arXiv 1909.10351).
"""

from typing import Any

from keras import ops


def soft_label_loss(logits: Any, teacher_logits: Any, temperature: float, multi_label: bool = False) -> Any:
    """How far a student's probabilities are from the teacher's, both softened.

    The divergence of Kullback and Leibler: the cross-entropy of the soft labels less what the teacher's own
    uncertainty adds to it, so that it has the same gradient and is 0 where the two agree. Times temperature², so
    that gradients do not shrink as the temperature grows.

    Args:
        logits: (B, C) of the student.
        teacher_logits: (B, C).
        temperature: By what logits are divided first; above 1 the teacher's small probabilities count for more.
        multi_label: Each label is a decision of its own; the mean over labels is taken.

    Returns:
        (B,) float32, at least 0 up to rounding.

    Example:
        >>> loss = soft_label_loss(ops.array([[2.0, 0.0]]), ops.array([[2.0, 0.0]]), temperature=3.0)
        >>> float(loss[0])
        0.0
    """
    own = ops.cast(logits, "float32") / temperature
    taught = ops.cast(teacher_logits, "float32") / temperature
    if multi_label:
        yes = ops.sigmoid(taught) * (ops.log_sigmoid(taught) - ops.log_sigmoid(own))
        no = ops.sigmoid(-taught) * (ops.log_sigmoid(-taught) - ops.log_sigmoid(-own))
        divergence = ops.mean(yes + no, axis=-1)
    else:
        difference = ops.log_softmax(taught, axis=-1) - ops.log_softmax(own, axis=-1)
        divergence = ops.sum(ops.softmax(taught, axis=-1) * difference, axis=-1)
    return temperature**2 * divergence


def hidden_state_loss(states: Any, wanted: Any, padding_mask: Any, variance: float = 1.0) -> Any:
    """Mean squared difference of hidden vectors over real tokens, relative to how much the teacher's vary.

    Args:
        states: (B, T, D) of the student, projected where the widths differ.
        wanted: (B, T, D) of the teacher.
        padding_mask: (B, T), 1 at real tokens.
        variance: Of the teacher's vectors: a loss of 1 is no better than their mean.

    Returns:
        A scalar, float32.
    """
    real = ops.cast(padding_mask, "float32")
    squares = ops.mean(ops.square(ops.cast(states, "float32") - ops.cast(wanted, "float32")), axis=-1)
    return ops.sum(squares * real) / ops.maximum(ops.sum(real), 1.0) / variance
