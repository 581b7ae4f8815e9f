"""Strict assignment of a source's tensors to a model's variables: everything fits, or nothing is touched.

The strictness (report every missing, unused and misshapen name at once) follows big_vision's loader.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tftransformer.checkpoints.rules import Rule, Shape, Table, Transform, transform_of
from tftransformer.checkpoints.sources import FLOATING, Source, cast
from tftransformer.checkpoints.sources.base import counted, listed
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError

MOST_LAYERS = 1000


@dataclasses.dataclass(frozen=True)
class LoadSummary:
    """Summary of a load: what came from a source, what was left there, and what is newly initialized.

    Args:
        source: Name of the source of the weights.
        loaded: The source's name of each variable that was set, by address.
        ignored: Why each left-over tensor was not needed, by the source's name.
        newly_initialized: Why each variable that was not set was left as initialised, by address.
    """

    source: str
    loaded: Mapping[str, str]
    ignored: Mapping[str, str]
    newly_initialized: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} variables loaded from {self.source}"]
        for title, entries in (("not needed", self.ignored), ("newly initialized", self.newly_initialized)):
            for reason in dict.fromkeys(entries.values()):
                lines.append(f"{title}: {listed(n for n, r in entries.items() if r == reason)} ({reason})")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain JSON values, the loaded variables as their number."""
        return {**dataclasses.asdict(self), "loaded": len(self.loaded)}


@dataclasses.dataclass(frozen=True)
class Plan:
    """Checked assignment of tensors to variables, which `assign` carries out."""

    keys: Mapping[str, str]
    transforms: Mapping[str, Transform]
    ignored: Mapping[str, str]
    newly_initialized: Mapping[str, str]


def assign(
    variables: Mapping[str, Any],
    source: Source,
    table: Table,
    *,
    optional: str | Iterable[str] = (),
    fresh: str | Iterable[str] = (),
) -> LoadSummary:
    """Set every variable from its tensor, exactly, or raise and set none.

    Every tensor is used once or ignored with the table's reason; every variable is set once or may start
    fresh. Values are cast to the variable's dtype.

    Args:
        variables: `keras.Variable`s by address (`patterns.addresses(model)`).
        source: The tensors.
        table: Names of the variables in the source.
        optional: Regular expressions of addresses that may start fresh where the source has nothing for
            them, such as `("head/.*", r"extra_block_\\d+/.*")`. A head (a rule that `may_differ`) also
            does where the source's has another shape.
        fresh: Regular expressions of addresses that start fresh whatever the source has.

    Returns:
        Summary of what was loaded, ignored and left as initialized.

    Raises:
        TransformerError: Missing, unused and misshapen names, all in one line; or a tensor that holds NaN
            or infinity (or does in the variable's dtype).

    Example:
        >>> import keras
        >>> from tftransformer.checkpoints.sources import ArraySource
        >>> from tftransformer.checkpoints.rules import OWN
        >>> variable = keras.Variable(np.zeros((2,)), name="bias")
        >>> str(assign({"head/logits/bias": variable}, ArraySource({"head/logits/bias": np.ones(2)}), OWN))
        '1 variables loaded from the given arrays'
    """
    shapes = {address: tuple(variable.shape) for address, variable in variables.items()}
    plan = make_plan(shapes, source, table, optional=optional, fresh=fresh)
    # Two passes over the file rather than one that holds all of it: the second reads from the page cache.
    broken = [
        key
        for address, key in plan.keys.items()
        if not np.isfinite(_value(address, plan, source, variables[address])).all()
    ]
    if broken:
        raise TransformerError(
            f"weights of {source.name} must be finite numbers (in the dtype of the model, too); "
            f"{listed(broken)} hold NaN or infinity"
        )
    for address in plan.keys:
        variables[address].assign(_value(address, plan, source, variables[address]))
    return LoadSummary(source.name, plan.keys, plan.ignored, plan.newly_initialized)


def make_plan(
    shapes: Mapping[str, Shape],
    source: Source,
    table: Table,
    *,
    optional: str | Iterable[str] = (),
    fresh: str | Iterable[str] = (),
) -> Plan:
    """Match names and shapes without reading a tensor or having a model: `assign`'s first half.

    Args:
        shapes: Shapes of the variables by address.
        source, table, optional, fresh: Arguments of `assign`.
    """
    may_miss, left_fresh = _patterns(optional, "optional"), _patterns(fresh, "fresh")
    present = set(source.keys())
    keys: dict[str, str] = {}
    rules: dict[str, Rule] = {}
    ignored: dict[str, str] = {}
    started: dict[str, str] = {}
    missing, misshapen = [], []
    for address in shapes:
        names = [name for name in table.names(address) if name in present]
        rule = table.rule(address)
        if _matches(left_fresh, address):
            started[address] = "left fresh, as asked"
            ignored.update(dict.fromkeys(names, "its variable is left fresh, as asked"))
        elif names and rule is not None:
            # A second name of the same tensor stays behind and is reported as unused.
            keys[address], rules[address] = names[0], rule
        elif _matches(may_miss, address):
            started[address] = "the source has no such weights"
        else:
            usual = next(iter(table.names(address)), None)
            missing.append(address if usual in (None, address) else f"{address} ({usual})")

    for address in _misfits(keys, rules, shapes, source, may_miss):
        key = keys.pop(address)
        found = _found_shape(rules[address], source.shape(key))
        reason = f"the source's has shape {found}, the model's {tuple(shapes[address])}"
        whole = "the rest of its head has another shape in the source"
        started[address] = reason if found != tuple(shapes[address]) else whole
        ignored[key] = "a head of another shape"
    for address, key in keys.items():
        found = _found_shape(rules[address], source.shape(key))
        if found != tuple(shapes[address]):
            misshapen.append(f"{address} is {found} there and {tuple(shapes[address])} in the model")
        elif source.dtype(key) not in FLOATING:
            misshapen.append(f"{address} has the dtype {source.dtype(key)}, which is no floating point")

    unused: list[str] = []
    for key in sorted(present - set(keys.values()) - set(ignored)):
        why = table.reason_to_ignore(key)
        if why is None:
            unused.append(key)
        else:
            ignored[key] = why
    misfit = counted({
        "missing in it": missing,
        "in it that the model has no place for": unused,
        "that do not fit": misshapen,
    })  # fmt: skip
    if misfit:
        raise TransformerError(f"the weights of {source.name} must be the model's; {misfit}")
    return Plan(keys, {address: transform_of(rules[address]) for address in keys}, ignored, started)


def _misfits(
    keys: Mapping[str, str],
    rules: Mapping[str, Rule],
    shapes: Mapping[str, Shape],
    source: Source,
    optional: list[re.Pattern[str]],
) -> list[str]:
    """Addresses of heads that do not fit and may start fresh: whole heads, no kernel without its bias."""
    heads = {a: a.split("/")[0] for a in keys if rules[a].may_differ and _matches(optional, a)}
    wrong = {heads[a] for a in heads if _found_shape(rules[a], source.shape(keys[a])) != tuple(shapes[a])}
    return [address for address, head in heads.items() if head in wrong]


def _found_shape(rule: Rule, shape: Shape) -> Shape:
    """The shape that a source's tensor has in our layout, or its own where the layout cannot be changed."""
    transform = transform_of(rule)
    if transform.rank is not None and len(shape) != transform.rank:
        return tuple(shape)
    return tuple(transform.shape(tuple(shape)))


def _value(address: str, plan: Plan, source: Source, variable: Any) -> np.ndarray:
    value = plan.transforms[address].forward(source.get(plan.keys[address]))
    return cast(value, str(getattr(variable.dtype, "name", variable.dtype)))


def _patterns(patterns: str | Iterable[str], argument: str) -> list[re.Pattern[str]]:
    try:
        return [re.compile(p) for p in ([patterns] if isinstance(patterns, str) else patterns)]
    except re.error as error:
        raise TransformerError(f"{argument} must be regular expressions; {error.pattern!r} is not") from None


def _matches(patterns: list[re.Pattern[str]], address: str) -> bool:
    return any(pattern.fullmatch(address) for pattern in patterns)


def check_depth(where: Any, config: TransformerConfig, source: Source) -> None:
    """A config of another depth is noticed before anything is made of that depth."""
    if config.num_blocks > len(source.keys()) or config.num_layers > MOST_LAYERS:
        raise TransformerError(
            f"{where} must fit the weights; by its config there are {config.num_layers} layers, and the weights are "
            f"{len(source.keys())} tensors"
        )


def stored_name(source: Source, table: Table, address: str) -> str | None:
    """The name under which a source holds one of our variables; None where it does not."""
    present = set(source.keys())
    return next((name for name in table.names(address) if name in present), None)


def stored_addresses(source: Source, table: Table) -> dict[str, str]:
    """The source's names of everything in it that has an address here, by address.

    No tensor is read. Tensors without a rule (heads of pretraining, counters) are left out, and of two
    names of one address the usual one counts, as in loading.

    Example:
        >>> import numpy as np
        >>> from tftransformer.checkpoints.sources import ArraySource
        >>> from tftransformer.models.families import FAMILIES
        >>> arrays = {"bert.encoder.layer.3.output.dense.bias": np.zeros(4), "cls.seq_relationship.bias": np.zeros(2)}
        >>> stored_addresses(ArraySource(arrays), FAMILIES["bert"].huggingface.table)
        {'encoder_block_3/feed_forward/output/bias': 'bert.encoder.layer.3.output.dense.bias'}
    """
    keys = source.keys()
    present, found = set(keys), {}
    for key in keys:
        for address in _candidates(key, table):
            if address not in found:
                names = [name for name in table.names(address) if name in present]
                if key in names:
                    found[address] = names[0]
                    break
    return found


def _candidates(key: str, table: Table) -> Iterator[str]:
    for rule in table.rules:
        for name in rule.names:
            # A name without the block's number is that of the one block that all layers share.
            address = rule.address if "{i}" in name else rule.address.replace("{i}", "0")
            backwards = Rule(name, (address,))
            for prefix in table.prefixes:
                if key.startswith(prefix):
                    yield from backwards.names_of(key.removeprefix(prefix)) or ()
