"""Defaults of a run: its highest learning rate and its number of epochs.

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
    """A preset's advice, with the default learning rate where it has none.

    Args:
        advice: A preset's advice: any of `learning_rate`, `frozen_learning_rate` and `epochs`.
        hidden_dim: Width of the encoder.

    Example:
        >>> complete_advice({}, 384), complete_advice({"learning_rate": 7e-5}, 192)
        ({'learning_rate': 0.0001}, {'learning_rate': 7e-05})
    """
    return {"learning_rate": NARROW_LEARNING_RATE if hidden_dim < NARROW else LEARNING_RATE, **advice}


def default_epochs(advice: Mapping[str, Any], batches: int, accumulated: int = 1) -> int:
    """The default number of epochs: the advised one, or more where that makes too few updates.

    Args:
        advice: A preset's advice: `epochs`; 3 by default.
        batches: Number of batches in an epoch.
        accumulated: Number of batches in an update.

    Returns:
        Number of epochs, at least 250 updates together.

    Example:
        >>> default_epochs({}, batches=13), default_epochs({"epochs": 8}, batches=400)
        (20, 8)
    """
    updates = math.ceil(batches / accumulated)
    return max(advice.get("epochs", EPOCHS), math.ceil(UPDATES / updates))
