"""Keep some of an encoder's layers: fewer, at a matching share of the cost.

Fan et al. 2019 (arXiv 1909.11556) and Sajjad et al. 2020 (arXiv 2004.03844): taken before fine-tuning, the lower
layers of a pretrained model, or every other one, lose little.
"""

from collections.abc import Sequence

from tftransformer.errors import TransformerError
from tftransformer.finetuning.rebuilding import check_task, rebuild
from tftransformer.models.layer_choice import choose_layers, keep_in_config
from tftransformer.models.task import AnyTask


def keep_layers(task: AnyTask, layers: int | str | Sequence[int]) -> AnyTask:
    """A smaller task of some layers of another: their weights, the embeddings, the pooling and the head.

    Args:
        task: A built task, such as a `TextClassifier`; it stays as it is.
        layers: A number n (the first n), "first:6", "last:6", "every:2" (block 0 and every second after it), or the
            numbers of the blocks in their new order. Where all layers share one block (ALBERT), it is applied
            fewer times.

    Returns:
        A new task, not compiled, that saves, exports and trains like any other. What was frozen in a kept block
        is frozen in it still.

    Raises:
        TransformerError: An unknown choice, a block that there is not, or layers of which groups share blocks.

    Example:
        >>> small = keep_layers(classifier, "every:2")  # doctest: +SKIP
        >>> small.config.num_layers  # doctest: +SKIP
        6
    """
    check_task(task)
    if layers is None:
        raise TransformerError("layers must say which to keep, as in first:6, every:2 or [0, 2, 4]; got None")
    kept = choose_layers(layers, task.config.num_layers)
    config = keep_in_config(task.config, kept)
    own = task.config.num_blocks == task.config.num_layers
    return rebuild(task, config, kept if own else range(task.config.num_blocks))
