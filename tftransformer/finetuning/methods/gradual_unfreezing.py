"""Gradual unfreezing: the head trains first, then one block more at a time, from the top (ULMFiT).

Howard & Ruder 2018, "Universal Language Model Fine-tuning for Text Classification" (arXiv:1801.06146), 3.3.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tftransformer.errors import TransformerError, check_choice, check_whole
from tftransformer.finetuning.arguments import Model
from tftransformer.finetuning.depth import layers_by_depth
from tftransformer.finetuning.methods.base import Method, Number, Stage
from tftransformer.patterns import addresses

STARTS = ("head", "block")


@dataclass(frozen=True)
class GradualUnfreezing(Method):
    """Schedule of which weights train from which epoch on.

    By default, it fits the stages into the epochs of `fit`, so that every run ends with all weights training. As long
    as there are enough epochs, a stage is one epoch (Howard & Ruder) and the rest of the run trains everything.
    With fewer epochs than stages more blocks join at a time, the same number in each stage but the last: of 12
    blocks in 4 epochs none, 4, 8 and 12 train; in 2 epochs none, then all.

    Weights frozen before stay frozen. Weights that wait have no optimizer slots and do not change at all;
    where they lie at the bottom, `fit` may train from their stored outputs. After training, everything that
    trained before may train again, with an optimizer that goes on from the last stage's.

    Args:
        blocks_per_stage: Least number of blocks that join at a time. The embeddings join with the lowest one.
        epochs_per_stage: Number of epochs after which the next ones join, whatever the length of the run: blocks for
            which it is too short do not train, which `fit` says. None: as above.
        start: "head": the first stage trains what lies above the blocks. "block": the first blocks as well.

    Raises:
        TransformerError: A number below 1, or an unknown start.

    Example:
        >>> GradualUnfreezing(blocks_per_stage=2)
        GradualUnfreezing(blocks_per_stage=2, epochs_per_stage=None, start='head')
    """

    blocks_per_stage: int = 1
    epochs_per_stage: int | None = None
    start: str = "head"

    name = "unfreeze"
    about = "the head trains first, then at least N blocks more at a time, from the top"
    hooks = ("stages",)
    number = Number("blocks_per_stage")
    once = True

    def check(self, model: Model) -> None:
        layers_by_depth(model)

    def __post_init__(self) -> None:
        check_whole("blocks_per_stage", self.blocks_per_stage)
        if self.epochs_per_stage is not None:
            check_whole("epochs_per_stage", self.epochs_per_stage)
        check_choice("start", self.start, STARTS)

    def stages(self, model: Model, epochs: int, initial_epoch: int = 0) -> list[Stage]:
        """The stages of a run, of which one that is continued in the middle sees the rest.

        Args:
            model: Built model or task.
            epochs: Number of the last epoch, as in `fit`.
            initial_epoch: Number of the first epoch, as in `fit`.

        Returns:
            At least one stage; together they are the epochs of the run.

        Raises:
            TransformerError: The model has no blocks, or none that trains; nothing above them trains; or all epochs
                are over before anything is unfrozen.
        """

        if epochs <= initial_epoch:
            raise TransformerError(f"epochs must be above initial_epoch, {initial_epoch}; got {epochs}")
        length = self.epochs_per_stage or 1
        # Those that are left for blocks.
        head_epochs = length if self.start == "head" else 0
        if epochs <= head_epochs:
            raise TransformerError(
                f"unfreezing unfreezes nothing in epochs={epochs}: the first stage, without blocks, takes "
                f"{head_epochs}; give more epochs, or start='block'"
            )
        joining = self._joining(model, epochs - head_epochs)
        stages, names = [], []
        for number, (about, more) in enumerate(joining):
            names += more
            first = max(initial_epoch, number * length)
            last = epochs if number == len(joining) - 1 else min(epochs, (number + 1) * length)
            if first < last:
                stages.append(Stage(first, last, tuple(names), about))
        return stages

    def _joining(self, model: Model, epochs: int) -> list[tuple[str, list[str]]]:
        """Return a description and the addresses of the weights that join with each stage."""
        above, blocks = _parts_that_train(model)
        if not above and self.start == "head":
            raise TransformerError("unfreezing starts above the blocks, where nothing trains: all is frozen")
        size = self.blocks_per_stage
        if self.epochs_per_stage is None:
            size = max(size, math.ceil(len(blocks) / epochs))
        groups = [blocks[start : start + size] for start in range(0, len(blocks), size)]
        joining = [
            (" to ".join(dict.fromkeys((group[0][0], group[-1][0]))), [name for _, part in group for name in part])
            for group in groups
        ]
        if self.start == "head":
            return [("what lies above the blocks", above), *joining]
        about, names = joining[0]
        return [(f"what lies above the blocks and {about}", above + names), *joining[1:]]


def _parts_that_train(model: Model) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The addresses of what trains above the blocks, and of each block that does, from the top."""
    training = [name for name, weight in addresses(model).items() if weight.trainable]
    depths = layers_by_depth(model)

    def among(layers: Sequence[str]) -> list[str]:
        return [name for name in training if name.split("/")[0] in layers]

    above = among(depths.above)
    blocks: list[tuple[str, list[str]]] = []
    for block, *beside in depths.blocks:
        if among((block,)):
            blocks.append((block, []))
        # What trains beside a frozen block joins with what comes before it.
        (blocks[-1][1] if blocks else above).extend(among((block, *beside)))
    if not blocks:
        raise TransformerError("unfreezing has nothing to unfreeze: all blocks are frozen for good")
    if below := among(depths.below):
        about, names = blocks[-1]
        blocks[-1] = (f"{about} with what lies below", names + below)
    return above, blocks
