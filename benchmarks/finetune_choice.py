"""Which sections a run of `finetune.py` has, and whether its flags make sense."""

from collections.abc import Sequence
from pathlib import Path

from tftransformer.errors import TransformerError, near_miss

SECTIONS = {
    "fixed": "full fine-tuning at length 128, MiniLM's shape",
    "compiled": "the same, steps compiled as a whole",
    "freeze": "a third, two thirds and all of the blocks frozen, three epochs",
    "freeze_8_of_12": "eight of twelve blocks frozen, five epochs",
    "base": "BERT-base's shape, a few dozen steps",
    "lengths": "the lengths of SST-2, AG News and Medical Abstracts",
    "accuracy": "seconds to one validation accuracy on SST-2",
}
QUICK_SECTIONS = ("fixed", "freeze", "lengths")
REAL_TEXTS = ("lengths", "accuracy")
# Left out of a full run: what it says, that compiling does not pay here, is said once.
ON_REQUEST = ("compiled",)


def choose_sections(
    sections: Sequence[str] | None,
    quick: bool,
    data: str | None,
    minilm: str | None,
    rounds: int | None,
    target: float,
    timeout: float,
) -> tuple[list[str], list[str]]:
    """The names of the sections, in the order of the tables, and what a user should know about them.

    Args:
        sections: Names that were asked for; None for all, or for those of a quick run.
        quick: Whether the run is a quick one.
        data, minilm: Folders, or None.
        rounds, target, timeout: To be checked.

    Returns:
        (names, lines to print).

    Raises:
        TransformerError: A flag is out of its range, or names what is not there.

    Example:
        >>> choose_sections(["base", "fixed"], False, None, None, None, 0.8, 900.0)
        (['fixed', 'base'], [])
    """
    wanted = sections or (QUICK_SECTIONS if quick else tuple(name for name in SECTIONS if name not in ON_REQUEST))
    for name in wanted:
        if name not in SECTIONS:
            raise TransformerError(
                f"sections must be among {', '.join(SECTIONS)}; got {name!r}{near_miss(name, SECTIONS)}"
            )
    if rounds is not None and rounds < 1:
        raise TransformerError(f"rounds must be at least 1; got {rounds}")
    if not 0 < target < 1:
        raise TransformerError(f"target must be above 0 and below 1; got {target}")
    if timeout <= 0:
        raise TransformerError(f"timeout must be above 0; got {timeout}")
    for flag, folder in (("data", data), ("minilm", minilm)):
        if folder is not None and not Path(folder).is_dir():
            raise TransformerError(f"{flag} must be a folder; got {folder!r}")
    notes = []
    if data is None and (left_out := [name for name in REAL_TEXTS if name in wanted]):
        notes.append(f"no --data, so no real texts: {' and '.join(left_out)} left out")
        wanted = [name for name in wanted if name not in left_out]
    if data is not None and minilm is None and "accuracy" in wanted:
        notes.append("no --minilm, so the embedded preset is trained on real texts")
    return [name for name in SECTIONS if name in wanted], notes
