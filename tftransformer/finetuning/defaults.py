"""What a run is trained with where nobody says: its highest rate, and how many epochs.

Few rows need updates more than anything else, and small encoders a higher rate than BERT's (BUILD_NOTES.md).
"""

import math
from collections.abc import Mapping
from typing import Any

# The middle of what BERT is fine-tuned with (Devlin et al. 2018, A.3), and what encoders below this width learn at.
LEARNING_RATE = 2e-5
NARROW_LEARNING_RATE = 1e-4
NARROW = 512
# Rows of a training batch wherever nothing is said; and of one whose size changes nothing but the time it takes.
BATCH_SIZE, INFERENCE_BATCH_SIZE = 16, 64
EPOCHS = 3
# Fewer than these leave a classifier near its start, however often it has seen its few rows.
UPDATES = 250


def complete_advice(advice: Mapping[str, Any], hidden_dim: int) -> dict[str, Any]:
    """What a preset says of itself, and the default rate where it says none.

    Args:
        advice: Any of `learning_rate`, `frozen_learning_rate` and `epochs`.
        hidden_dim: Width of the encoder.

    Example:
        >>> complete_advice({}, 384), complete_advice({"learning_rate": 7e-5}, 192)
        ({'learning_rate': 0.0001}, {'learning_rate': 7e-05})
    """
    return {"learning_rate": NARROW_LEARNING_RATE if hidden_dim < NARROW else LEARNING_RATE, **advice}


def default_epochs(advice: Mapping[str, Any], batches: int, accumulated: int = 1) -> int:
    """How many epochs to train where nobody says: those advised, and more where these are few updates.

    Args:
        advice: What a preset says of itself; `epochs`, else 3.
        batches: Batches to an epoch.
        accumulated: Batches to an update.

    Returns:
        Epochs of at least 250 updates together.

    Example:
        >>> default_epochs({}, batches=13), default_epochs({"epochs": 8}, batches=400)
        (20, 8)
    """
    updates = math.ceil(batches / accumulated)
    return max(advice.get("epochs", EPOCHS), math.ceil(UPDATES / updates))
