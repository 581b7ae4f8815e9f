"""Errors of the library in the words of the command line: `--freeze_layers` where they say `layers`.

Options are named like their flags, so that a name in a message is the flag's; what the library calls otherwise is said
where the option is declared (`flags.option`).
"""

import re
import types
from collections.abc import Iterable, Mapping

_ALONE = r"(?<![\w./'\"\\-]){}(?![\w/'\"\\-]|\.\w)"  # not inside quotes, a path, a flag or a dotted name
_NONE: Mapping[str, str] = types.MappingProxyType({})
# What follows an argument at the beginning of a message, at most one word in between.
_VERBS = "as|must|needs|goes|cannot|does|takes|names|has|holds|and|or"


def name_flags(
    message: str,
    flags: Iterable[str],
    arguments: Mapping[str, str] = _NONE,
    words: Mapping[str, str] = _NONE,
) -> str:
    """An error message with the arguments that it names written as flags.

    A name counts as an argument's where it cannot be prose: at the beginning of the message, before "=", beside an
    operator of arithmetic, as a setting of a search space, behind "pass" or "with", between "and" and "must", and
    anywhere if it has an underscore. Quoted words and paths stay as they are.

    Args:
        message: Of a `TransformerError`.
        flags: The names of the command's flags.
        arguments: The flag of each argument that the library calls otherwise; a flag of that name comes first.
        words: Likewise, of arguments that are words of prose, too: they count before "=" alone.

    Example:
        >>> name_flags("layers must be between 0 and 12; got 13", ["freeze_layers"], {"layers": "freeze_layers"})
        '--freeze_layers must be between 0 and 12; got 13'
        >>> name_flags("add_labels goes with init_from: pass overwrite=True", ["add_labels", "init_from", "overwrite"])
        '--add_labels goes with --init_from: pass --overwrite'
    """
    flags = set(flags)
    carried, files = (
        {name: flag for name, flag in table.items() if name not in flags and flag in flags}
        for table in (arguments, words)
    )
    own = {flag: flag for flag in flags}
    message = _replace(r"\bspace\['{}'\]", own | carried, message)
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
