"""Two-way rules between our addresses and a source's tensor names and shapes: data, not code.

A table lists, for each address of ours, the names that a source gives the same tensor and how its
shape differs. `Table.names` reads it one way (loading), `Table.to_source` the other (writing back).
"""

import dataclasses
import functools
import re
from collections.abc import Callable

import numpy as np

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Transform:
    """A change of layout that loses nothing: the values are the same, in another order or shape.

    Args:
        name: For messages.
        rank: How many axes the source's tensor has; None: any number.
        shape: The shape here of a tensor of the given shape there.
        forward: From the source's layout to ours.
        backward: From ours to the source's, given the number of heads, which a merged axis forgets.
    """

    name: str
    rank: int | None
    shape: Callable[[Shape], Shape]
    forward: Callable[[np.ndarray], np.ndarray]
    backward: Callable[[np.ndarray, int], np.ndarray]


SAME = Transform("same", None, lambda s: s, lambda a: a, lambda a, heads: a)
TRANSPOSE = Transform("transpose", 2, lambda s: s[::-1], lambda a: a.T, lambda a, heads: a.T)
# (D, N, H) <-> (D, N*H) and (N, H) <-> (N*H,)
MERGE_LAST = Transform(
    "merge the last two axes",
    None,
    lambda s: (*s[:-2], s[-2] * s[-1]) if len(s) >= 2 else s,
    lambda a: a.reshape(*a.shape[:-2], -1),
    lambda a, heads: a.reshape(*a.shape[:-1], heads, -1),
)
# (N, H, D) <-> (N*H, D)
MERGE_FIRST = Transform(
    "merge the first two axes",
    3,
    lambda s: (s[0] * s[1], *s[2:]),
    lambda a: a.reshape(-1, *a.shape[2:]),
    lambda a, heads: a.reshape(heads, -1, *a.shape[1:]),
)


@dataclasses.dataclass(frozen=True)
class Rule:
    """One of our addresses, or a numbered family of them, and what a source calls it.

    Args:
        address: Ours; `{i}` stands for a number and `{path}` for anything.
        names: The source's, with the same placeholders. The first is the one written back; the others
            are older spellings that still occur.
        transform: How the layout differs.
        may_differ: A tensor of another shape is no damage but another task's (a head's): where the
            caller lets it start fresh, it does.
        outer: The tensor belongs to a task's head, so that the prefix of a wrapped model is not before its name.

    Example:
        >>> rule = Rule("encoder_block_{i}/norm/gamma", ("layer.{i}.norm.weight",))
        >>> rule.names_of("encoder_block_3/norm/gamma")
        ('layer.3.norm.weight',)
    """

    address: str
    names: tuple[str, ...]
    transform: Transform = SAME
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
        reason: Why the model is complete without them.
    """

    pattern: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Table:
    """What one kind of source calls the tensors of one family.

    Args:
        name: For messages.
        rules: The first that matches an address holds.
        ignored: Tensors that may be left over. A rule wins over it: a tensor that the model has a
            variable for is loaded.
        prefixes: What may stand before every name (a model wrapped in a task's).
    """

    name: str
    rules: tuple[Rule, ...]
    ignored: tuple[Ignored, ...] = ()
    prefixes: tuple[str, ...] = ("",)

    def rule(self, address: str) -> Rule | None:
        """The rule for one address."""
        return next((rule for rule in self.rules if rule.names_of(address)), None)

    def names(self, address: str) -> tuple[str, ...]:
        """Every name that the source may have for an address, the usual one first."""
        rule = self.rule(address)
        return tuple(p + name for name in rule.names_of(address) for p in self.prefixes) if rule else ()

    def to_source(
        self, address: str, value: np.ndarray, num_heads: int, prefix: str = ""
    ) -> tuple[str, np.ndarray]:
        """The source's name and layout of one of our variables: loading's inverse."""
        rule = self.rule(address)
        if rule is None:
            raise KeyError(f"{self.name} has no name for {address!r}")
        prefix = "" if rule.outer else prefix
        return prefix + rule.names_of(address)[0], rule.transform.backward(value, num_heads)

    def reason_to_ignore(self, key: str) -> str | None:
        """Why a left-over tensor is no loss; None where it is one."""
        for ignored in self.ignored:
            if any(re.fullmatch(re.escape(p) + ignored.pattern, key) for p in self.prefixes):
                return ignored.reason
        return None

    def without(self, pattern: str, reason: str) -> "Table":
        """The table with some rules dropped; their tensors are then ignored for the given reason.

        Args:
            pattern: Matches the addresses of the rules to drop.
            reason: For the summary of what was loaded.
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
