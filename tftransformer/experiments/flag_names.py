"""Errors of the library in the words of the command line: `--freeze_layers` where they say `layers`.

Options are named like their flags, so that a name in a message is the flag's; what is called otherwise below the
options is listed here.
"""

import re
from collections.abc import Iterable, Mapping

# Arguments of the library by the flag that carries them, where it is not their own name.
_CARRIED_BY = {
    "layers": "freeze_layers",
    "strategy": "strategies",
    "learning_rate": "learning_rates",
    "gradient_accumulation_steps": "gradient_accumulation",
    "operation": "augmentation",
    "synonyms": "augmentation_synonyms",
    "copies": "augmentation_copies",
}
# Likewise, but words of prose too: they count as arguments before "=" alone.
_FILES = {"train": "train_path", "validation": "validation_path", "test": "test_path"}
_ALONE = r"(?<![\w./'\"\\-]){}(?![\w/'\"\\-]|\.\w)"  # not inside quotes, a path, a flag or a dotted name
# What follows an argument at the beginning of a message, at most one word in between.
_VERBS = "as|must|needs|goes|cannot|does|takes|names|has|holds|and|or"


def name_flags(message: str, flags: Iterable[str]) -> str:
    """An error message with the arguments that it names written as flags.

    A name counts as an argument's where it cannot be prose: at the beginning of the message, before "=", beside an
    operator of arithmetic, behind "pass" or "with", between "and" and "must", and anywhere if it has an underscore.
    Quoted words and paths stay as they are.

    Args:
        message: Of a `TransformerError`.
        flags: The names of the command's flags.

    Example:
        >>> name_flags("layers must be between 0 and 12; got 13", ["freeze_layers"])
        '--freeze_layers must be between 0 and 12; got 13'
        >>> name_flags("add_labels goes with init_from: pass overwrite=True", ["add_labels", "init_from", "overwrite"])
        '--add_labels goes with --init_from: pass --overwrite'
    """
    flags = set(flags)
    carried, files = (
        {name: flag for name, flag in table.items() if name not in flags and flag in flags}
        for table in (_CARRIED_BY, _FILES)
    )
    own = {flag: flag for flag in flags}
    message = _replace(rf"^{{}}(?= (?:{_VERBS})\b|[:,=])", own | carried, message)
    message = _replace(rf"^{{}}(?= \S+ (?:{_VERBS})\b)", own | carried, message)
    for pattern, names in (
        (rf"(?<=\bpass ){_ALONE}", own),
        (rf"(?<=\bwith ){_ALONE}", own),
        (rf"{_ALONE}(?==)", own | carried | files),
        (rf"{_ALONE}(?= [*+] )", own),
        (rf"(?<= [*+] ){_ALONE}", own),
        (rf"(?<=\band ){_ALONE}(?= must\b)", own),
        (_ALONE, {name: name for name in own if "_" in name}),
    ):
        message = _replace(pattern, names, message)
    return re.sub(r"(--\w+)=True\b", r"\1", message)


def _replace(pattern: str, flags: Mapping[str, str], message: str) -> str:
    if not flags:
        return message
    names = "|".join(re.escape(name) for name in sorted(flags, key=len, reverse=True))
    return re.sub(pattern.replace("{}", f"({names})"), lambda found: f"--{flags[found[1]]}", message)
