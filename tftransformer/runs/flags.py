"""Options as flags: the fields of a dataclass say name, default and help once, and the flags are made from them.

Dataclasses of options are importable without Keras and TensorFlow, and so is this.
"""

import dataclasses
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from absl import flags

from tftransformer.errors import TransformerError, check_choice


def read_range(name: str, values: Sequence[str], kind: Callable[[str], Any]) -> Any:
    """A flag of one number, or of the two ends of a range, as a search space has it.

    Example:
        >>> read_range("epochs", ["2", "5"], int), read_range("epochs", ["3"], int)
        ((2, 5), 3)
    """
    try:
        numbers = tuple(kind(value) for value in values)
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 2):
        raise TransformerError(f"{name} must be a number, or two with a comma; got {','.join(values)!r}")
    return numbers if len(numbers) == 2 else numbers[0]


def read_numbers(name: str, values: Sequence[str], kind: Callable[[str], Any]) -> tuple:
    """The numbers of a flag that takes a list.

    Example:
        >>> read_numbers("train_examples", ["50", "200"], int)
        (50, 200)
    """
    try:
        return tuple(kind(value) for value in values)
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise TransformerError(f"{name} must be {what} with commas between; got {','.join(values)!r}") from None


def option(
    default: Any,
    help: str,
    *,
    least: int | None = None,
    choices: Sequence[str] = (),
    read: Callable[[str, Sequence[str], Callable], Any] | None = None,
    argument: str = "",
    prose: bool = False,
) -> Any:
    """A field of a dataclass of options.

    Args:
        default: Value where the user says nothing.
        help: Description, for the flag's help and for readers of the dataclass.
        least: The smallest number that it may be; `check_options` refuses others.
        choices: The only values that it may have, likewise.
        read: Function from the flag's name, its values (separated by commas) and int or float to what the field holds.
        argument: Name in the library's messages, where that is not the field's own.
        prose: Whether that name is also a word of plain sentences, so that it is an argument in front of "=" alone.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Options:
        ...     epochs: int | None = option(None, "Passes over the training rows.", least=1)
        >>> Options(epochs=2).epochs
        2
    """
    metadata = dict(help=help, least=least, choices=tuple(choices), read=read, argument=argument, prose=prose)
    return dataclasses.field(default=default, metadata=metadata)


def like(options: type, name: str) -> Any:
    """A field with the default, the help and the bounds that it has in another dataclass of options.

    Example:
        >>> from tftransformer.runs.options import ClassificationOptions
        >>> like(ClassificationOptions, "batch_size").default
        16
    """
    field = next(field for field in dataclasses.fields(options) if field.name == name)
    return dataclasses.field(default=field.default, metadata=field.metadata)


def check_options(options: Any) -> None:
    """Refuse numbers below the `least` of their fields, and what is not among the `choices` of others."""
    for field in dataclasses.fields(options):
        value, least = getattr(options, field.name), field.metadata.get("least")
        choices = field.metadata.get("choices")
        if least is not None and value is not None and value < least:
            raise TransformerError(f"{field.name} must be at least {least}; got {value}")
        if choices and value is not None:
            check_choice(field.name, value, choices)


class OptionFlags:
    """The flags of a dataclass of options.

    A field's type says what its flag takes: one value, values separated by commas (`Sequence`, or a `tuple` of so many),
    or, given several times, a value each (`tuple[str, ...]`).

    Args:
        options: The dataclass; its fields are made by `option`, or have their help in `helps`.
        only: The fields that are flags; None: all of them.
        without: Fields that are not.
        helps: By field another help than its own.

    Example:
        >>> from tftransformer.runs.options import ClassificationOptions
        >>> RUN, values = OptionFlags(ClassificationOptions, only=["preset", "epochs"]), flags.FlagValues()
        >>> RUN.define(values)
        >>> values(["classify.py", "--epochs=3"])
        ['classify.py']
        >>> RUN.read().epochs
        3
    """

    def __init__(
        self, options: type, only: Iterable[str] | None = None, without: Iterable[str] = (), **helps: str
    ) -> None:
        self._options = options
        fields = {field.name: field for field in dataclasses.fields(options)}
        only, without = list(fields if only is None else only), list(without)
        for name in (*only, *without, *helps):
            if name not in fields:
                raise TransformerError(f"{options.__name__} must have the field {name!r}; it has none")
        self._fields = {name: fields[name] for name in fields if name in only and name not in without}
        self._types = typing.get_type_hints(options)
        self._helps = helps
        self._values = flags.FLAGS

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the flags."""
        return tuple(self._fields)

    def define(self, values: flags.FlagValues = flags.FLAGS) -> None:
        """Make the flags, as flags of the program that runs."""
        self._values = values
        for name, field in self._fields.items():
            default = None if field.default is dataclasses.MISSING else field.default
            about = self._helps.get(name) or field.metadata["help"]
            self._define(name, default, about, field.metadata.get("choices"))
            # For `flag_names`, when an error is to be told in flags.
            vars(self._values[name]).update(
                {key: field.metadata[key] for key in ("argument", "prose") if key in field.metadata}
            )

    def _define(self, name: str, default: Any, about: str, choices: Sequence[str] | None) -> None:
        # Without the module's name they would be this file's flags, which --help does not show.
        of = {"flag_values": self._values, "module_name": sys.argv[0]}
        kind, form = self._kind(name)
        if choices:
            flags.DEFINE_enum(name, default, list(choices), about, **of)
        elif form == "several":
            flags.DEFINE_multi_string(name, default, about, **of)
        elif form == "list":
            if default is not None:
                default = [f"{value:g}" if isinstance(value, float) else str(value) for value in default]
            flags.DEFINE_list(name, default, about, **of)
        else:
            define = {bool: flags.DEFINE_boolean, int: flags.DEFINE_integer, float: flags.DEFINE_float}
            define.get(kind, flags.DEFINE_string)(name, default, about, **of)

    def _kind(self, name: str) -> tuple[type, str]:
        """The type of a field's values; and "one", "list", or "several" for a flag that may be repeated."""
        annotation = self._types[name]
        union = typing.get_origin(annotation) in (types.UnionType, typing.Union)
        kinds = typing.get_args(annotation) if union else (annotation,)
        held = {part for kind in kinds for part in (typing.get_args(kind) or (kind,))}
        kind = next((kind for kind in (bool, int, float) if kind in held), str)
        if Ellipsis in held:
            return kind, "several"
        return kind, "list" if any(map(typing.get_origin, kinds)) else "one"

    def read(self, **more: Any) -> Any:
        """The options that the parsed flags state."""
        made = self._options(**{name: self._value(name) for name in self._fields} | more)
        if hasattr(made, "check"):
            made.check()
        return made

    def given(self) -> dict[str, Any]:
        """The fields whose flags stand on the command line, with their values."""
        return {name: self._value(name) for name in self._fields if self._values[name].present}

    def _value(self, name: str) -> Any:
        value = self._values[name].value
        kind, form = self._kind(name)
        if form != "list" or value is None or kind is str:
            return value
        return (self._fields[name].metadata.get("read") or read_numbers)(name, value, kind)


def flag_names(found: Iterable[Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the flags whose arguments have other names in the library's messages, by argument.

    Returns:
        Two mappings: arguments that are no words of plain sentences, and those that are such words, too.

    Example:
        >>> from tftransformer.runs.options import ClassificationOptions
        >>> arguments, words = flag_names(dataclasses.fields(ClassificationOptions))
        >>> arguments["layers"], words["train"]
        ('freeze_layers', 'train_path')
    """
    tables: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for one in found:
        told = getattr(one, "metadata", None) or vars(one)
        if told.get("argument"):
            tables[told["prose"]][told["argument"]] = one.name
    return tables


_ALONE = r"(?<![\w./'\"\\-]){}(?![\w/'\"\\-]|\.\w)"  # not inside quotes, a path, a flag or a dotted name
_NONE: Mapping[str, str] = types.MappingProxyType({})
# What follows an argument at the beginning of a message, at most one word in between.
_VERBS = "as|must|needs|goes|cannot|does|takes|names|has|holds|and|or"


def name_flags(
    message: str, flags: Iterable[str], arguments: Mapping[str, str] = _NONE, words: Mapping[str, str] = _NONE
) -> str:
    """An error message with the arguments that it names written as flags.

    A name counts as an argument's where it cannot be prose: at the beginning of the message, before "=", beside an
    operator of arithmetic, as a setting of a search space, behind "pass" or "with", between "and" and "must", and
    anywhere if it has an underscore. Quoted words and paths stay as they are.

    Args:
        message: Message of a `TransformerError`.
        flags: The names of the command's flags.
        arguments: The flag of each argument that the library calls otherwise; a flag of that name comes first.
        words: The same of arguments that are words of prose, too: they count before "=" alone.

    Example:
        >>> name_flags("layers must be between 0 and 12; got 13", ["freeze_layers"], {"layers": "freeze_layers"})
        '--freeze_layers must be between 0 and 12; got 13'
        >>> name_flags("add_labels goes with init_from: pass overwrite=True", ["add_labels", "init_from", "overwrite"])
        '--add_labels goes with --init_from: pass --overwrite'
    """
    flags = set(flags)
    flag_names, files = (
        {name: flag for name, flag in table.items() if name not in flags and flag in flags}
        for table in (arguments, words)
    )
    own = {flag: flag for flag in flags}
    message = _replace(r"\bspace\['{}'\]", own | flag_names, message)
    message = _replace(rf"^{{}}(?= (?:{_VERBS})\b|[:,=])", own | flag_names, message)
    message = _replace(rf"^{{}}(?= \S+ (?:{_VERBS})\b)", own | flag_names, message)
    for pattern, names in (
        (rf"(?<=\bpass ){_ALONE}", own),
        (rf"(?<=\bwith ){_ALONE}", own),
        (rf"{_ALONE}(?==)", own | flag_names | files),
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
