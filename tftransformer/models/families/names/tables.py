"""Two-way rules between our addresses and a source's tensor names: strings alone, no arrays.

A table lists, for each address of ours, the names that a source gives the same tensor and how its
layout differs. `Table.names` reads it one way (loading), `checkpoints.rules.to_source` the other (writing back).
"""

import dataclasses
import functools
import re

ENCODER_BLOCK = "encoder_block_{i}"
DECODER_BLOCK = "decoder_block_{i}"


@dataclasses.dataclass(frozen=True)
class Rule:
    """One of our addresses, or a numbered row of them, and what a source calls it.

    Args:
        address: Our address; `{i}` stands for a number and `{path}` for anything.
        names: The source's names, with the same placeholders. The first is the one written back; the others
            are older names that still occur.
        transform: Difference of the layout, one of `checkpoints.rules.TRANSFORMS`: "same", "transpose",
            "merge_last", "merge_first" or "row".
        may_differ: Whether a tensor of another shape is no damage but another task's (a head's): where the
            caller lets it start fresh, it does.
        outer: Whether the tensor belongs to a task's head, so that the prefix of a wrapped model is not before its
            name.

    Example:
        >>> rule = Rule("encoder_block_{i}/norm/gamma", ("layer.{i}.norm.weight",))
        >>> rule.names_of("encoder_block_3/norm/gamma")
        ('layer.3.norm.weight',)
    """

    address: str
    names: tuple[str, ...]
    transform: str = "same"
    may_differ: bool = False
    outer: bool = False

    def names_of(self, address: str) -> tuple[str, ...] | None:
        """The source's names of one address; None where the rule does not speak of it."""
        match = _expression(self.address).fullmatch(address)
        return tuple(name.format(**match.groupdict()) for name in self.names) if match else None


@dataclasses.dataclass(frozen=True)
class Ignored:
    """Tensors of a source that need not be loaded.

    Args:
        pattern: A regular expression that matches their whole names.
        reason: Reason why the model is complete without them.
    """

    pattern: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Fused:
    """A tensor of a source that holds several tensors side by side on its last axis.

    Rules name its parts by their numbers: `h.{i}.attn.c_attn.weight[0]` is the first.

    Args:
        name: The source's name, with the placeholder `{i}`.
        parts: Number of tensors in it, all of one width.
    """

    name: str
    parts: int


@dataclasses.dataclass(frozen=True)
class Table:
    """Names of one family's tensors in one kind of source.

    Args:
        name: Name for messages.
        rules: Rules, of which the first that matches an address holds.
        ignored: Tensors that may be left over. A rule wins over it: a tensor that the model has a
            variable for is loaded.
        prefixes: Prefixes that every name may have (a model wrapped in a task's).
        fused: Tensors that `checkpoints.fused` takes apart before the rules see their parts.
    """

    name: str
    rules: tuple[Rule, ...]
    ignored: tuple[Ignored, ...] = ()
    prefixes: tuple[str, ...] = ("",)
    fused: tuple[Fused, ...] = ()

    def parts(self, key: str) -> int:
        """Return the number of tensors that a tensor of the source holds; usually 1."""
        for fused in self.fused:
            if any(_expression(prefix + fused.name).fullmatch(key) for prefix in self.prefixes):
                return fused.parts
        return 1

    def rule(self, address: str) -> Rule | None:
        """The rule for one address."""
        return next((rule for rule in self.rules if rule.names_of(address)), None)

    def names(self, address: str) -> tuple[str, ...]:
        """Every name that the source may have for an address, the usual one first."""
        rule = self.rule(address)
        names = () if rule is None else rule.names_of(address) or ()
        return tuple(prefix + name for name in names for prefix in self.prefixes)

    def reason_to_ignore(self, key: str) -> str | None:
        """Why a left-over tensor is no loss; None where it is one."""
        for ignored in self.ignored:
            if any(re.fullmatch(re.escape(p) + ignored.pattern, key) for p in self.prefixes):
                return ignored.reason
        return None

    def without(self, pattern: str, reason: str) -> "Table":
        """The table with some rules dropped; their tensors are then ignored for the given reason.

        Args:
            pattern: Regular expression for the addresses of the rules to drop.
            reason: Reason for the summary of what was loaded.
        """
        dropped = [rule for rule in self.rules if re.fullmatch(pattern, rule.address)]
        ignored = tuple(Ignored(_pattern(name), reason) for rule in dropped for name in rule.names)
        rules = tuple(rule for rule in self.rules if rule not in dropped)
        return dataclasses.replace(self, rules=rules, ignored=ignored + self.ignored)


@functools.cache
def _expression(template: str) -> re.Pattern[str]:
    return re.compile(_pattern(template))


def _pattern(template: str) -> str:
    escaped = re.escape(template)
    return escaped.replace(r"\{i\}", r"(?P<i>\d+)").replace(r"\{path\}", r"(?P<path>.+)")
