"""What every metric asks of its arguments: shapes that fit, numbers that are probabilities."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tftransformer.errors import TransformerError


def checked(
    targets: Any, probabilities: Any, labels: Sequence[str], sample_weight: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Targets (B, ...), probabilities (B, C) in float64 and weights (B,) or None, or a one-line error."""
    targets, probabilities = np.asarray(targets), np.asarray(probabilities, np.float64)
    if probabilities.ndim != 2 or probabilities.shape[1] != len(labels):
        raise TransformerError(
            f"probabilities must be (B, {len(labels)}), one column a label; got shape {probabilities.shape}"
        )
    if len(targets.shape) == 0 or len(targets) != len(probabilities):
        raise TransformerError(
            f"targets must have one row for each of the {len(probabilities)} rows of "
            f"probabilities; got shape {targets.shape}"
        )
    if len(targets) == 0:
        raise TransformerError("targets must hold at least one row; got none")
    if not np.isfinite(probabilities).all():
        raise TransformerError(
            f"probabilities must be finite; row {np.argwhere(~np.isfinite(probabilities))[0][0]} "
            "holds NaN or infinity"
        )
    if probabilities.min() < -1e-3:
        raise TransformerError(f"probabilities must not be negative; got {probabilities.min():.4g} (logits?)")
    if sample_weight is None:
        return targets, probabilities, None
    weight = np.asarray(sample_weight, np.float64)
    if (
        weight.shape != (len(targets),)
        or not np.isfinite(weight).all()
        or weight.min() < 0
        or weight.sum() == 0
    ):
        raise TransformerError(
            f"sample_weight must be ({len(targets)},), finite, not negative and not all zero; "
            f"got shape {weight.shape}"
        )
    return targets, probabilities, weight


def indicator(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Targets (B, C) of 0 and 1 as booleans, or a one-line error."""
    if targets.shape != probabilities.shape or not np.isin(targets, (0, 1)).all():
        raise TransformerError(
            f"targets must be {probabilities.shape} of 0 and 1; got {targets.dtype} of shape {targets.shape}"
        )
    return targets.astype(bool)
