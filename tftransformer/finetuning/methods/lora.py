"""LoRA: train a low-rank change of some projections instead of the projections (Hu et al. 2021, arXiv 2106.09685)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tftransformer.errors import TransformerError, check_whole
from tftransformer.finetuning.arguments import Model, check_number
from tftransformer.finetuning.methods.base import Number, hold_patterns, selected_parts
from tftransformer.finetuning.methods.targeted import ProjectionMethod

# Queries and values: what the paper trains where it can train only some.
TARGETS = r".*attention/(query|value)"


@dataclass(frozen=True)
class LoRA(ProjectionMethod):
    """Add a low-rank change to projections and freeze everything else but the head.

    The model computes the same as before until it is trained. The new weights lie at `{target}/lora/down` and
    `{target}/lora/up`; a task trains them at the rate of fresh weights. `merge` adds them to the kernels.

    Args:
        rank: Width of the change; the paper finds 4 to 8 enough.
        alpha: Numerator of the factor alpha / rank on the change. None: `rank`.
        dropout: Dropout rate on the input of the change (0 to below 1).
        targets: Regular expressions of the addresses of projections, matched from end to end, such as
            `"encoder_block_[6-9]/attention/.*"` or `".*/(attention|feed_forward)/.*"` for all of a block.
        train: Patterns of what else trains. None: whatever of a task is not pretrained, and the layer `head`.

    Raises:
        TransformerError: A number out of its range. On `apply`: a rank above the narrowest target, a pattern that
            matches nothing, a target that is changed already.

    Example:
        >>> str(LoRA(rank=4)), LoRA(rank=4, alpha=16.0).alpha
        ('lora:4', 16.0)
    """

    rank: int = 8
    alpha: float | None = None
    dropout: float = 0.0
    targets: str | Iterable[str] = TARGETS
    train: str | Iterable[str] | None = None

    name = "lora"
    about = "low-rank changes of rank N of queries and values"
    number = Number("rank")
    rate = 1e-3
    inserted = (".*/lora/(down|up)",)

    def __post_init__(self) -> None:
        check_whole("rank", self.rank)
        if self.alpha is not None:
            check_number("alpha", self.alpha, "positive", lambda value: value > 0)
        check_number("dropout", self.dropout, "at least 0 and below 1", lambda value: 0 <= value < 1)
        hold_patterns(self, "targets", "train")

    @classmethod
    def part(cls) -> type:
        from tftransformer.layers.low_rank import LowRankDelta

        return LowRankDelta

    def chosen(self, model: Model) -> dict[str, tuple[Any, dict[str, Any]]]:
        parts = selected_parts(model, self.layer(), self.targets, "targets")
        most = min(min(part.kernel.shape) for part in parts.values())
        if self.rank > most:
            raise TransformerError(f"rank must be an integer from 1 to {most}; got {self.rank}")
        settings = {"rank": self.rank, "alpha": self.alpha, "dropout": self.dropout}
        return {target: (part, settings) for target, part in parts.items()}
