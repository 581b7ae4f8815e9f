"""Addresses of layers and weights, and their selection by full-match regular expressions.

An address is the path of a variable relative to its model, such as
`encoder_block_0/attention/query/kernel`. It is part of the file format and the same whether a layer
stands in a functional model or in a task that wraps it.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from tftransformer.errors import TransformerError, near_miss


def addresses(model: Any) -> dict[str, Any]:
    """Every weight of a model by its address, in the order in which the model holds them.

    Args:
        model: A built Keras model or layer. A task, and any model that nests others, counts as one
            model: the names of the models in between do not appear in addresses. Nor do the states of
            random generators, which belong to dropout and to no checkpoint.

    Returns:
        A dict from address to `keras.Variable`.

    Raises:
        TransformerError: Two weights have the same address, so that it would not name either.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="head")])
        >>> list(addresses(model))
        ['head/kernel', 'head/bias']
    """
    found: dict[str, Any] = {}
    for layer in leaf_layers(model):
        for variable in layer.weights:
            if "seed_generator" in variable.path:
                continue
            name = address(variable, layer)
            if found.get(name, variable) is not variable:
                raise TransformerError(f"two weights have the address {name!r}: give their layers unlike names")
            found[name] = variable
    return found


def address(variable: Any, layer: Any) -> str:
    """The address of one weight of a top-level layer: the layer's name, then the path inside it."""
    # Both paths start with whatever the layer was built in, such as the name of a task. A part that was built on its
    # own before the layer took it in has a path of its own.
    return f"{layer.name}/{variable.path.removeprefix(f'{layer.path}/')}"


def copy_weights(source: Any, target: Any) -> None:
    """Give every weight of a model the value that the weight of the same address has in another one.

    Never by position: the order of weights is that in which layers were made, which is not the same after parts
    were put in.

    Args:
        source: A built model.
        target: One of the same structure; dtypes may differ.

    Raises:
        TransformerError: A weight is in one of them alone, or has another shape. Nothing was changed then.

    Example:
        >>> import keras
        >>> a, b = (keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="head")]) for _ in range(2))
        >>> copy_weights(a, b)
    """
    given, wanted = addresses(source), addresses(target)
    unlike = [name for name in given if name not in wanted] + [name for name in wanted if name not in given]
    unlike += [name for name in given if name in wanted and tuple(given[name].shape) != tuple(wanted[name].shape)]
    if unlike:
        raise TransformerError(f"target must have the weights of source; {len(unlike)} differ, such as {unlike[0]!r}")
    for name, variable in wanted.items():
        variable.assign(given[name])


def leaf_layers(model: Any) -> Iterator[Any]:
    """The top-level layers of a model, those of nested models in place of the nested model itself."""
    if not _is_model(model):
        yield model
        return
    seen = set()
    for layer in model.layers:
        for leaf in leaf_layers(layer):
            if id(leaf) not in seen:
                seen.add(id(leaf))
                yield leaf


def select(names: Iterable[str], patterns: str | Iterable[str], argument: str = "patterns") -> list[str]:
    """The names that at least one of the patterns matches from end to end.

    Args:
        names: Addresses, or names of layers.
        patterns: One regular expression or several, such as `"encoder_block_[0-7]/.*"`.
        argument: Name of the patterns for messages.

    Returns:
        The selected names, in their given order.

    Raises:
        TransformerError: A pattern is no regular expression, or matches no name.

    Example:
        >>> select(["head/kernel", "head/bias", "pooler/kernel"], "head/.*")
        ['head/kernel', 'head/bias']
    """
    names = list(names)
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    chosen: set[str] = set()
    for pattern in patterns:
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise TransformerError(f"{argument}: {pattern!r} is not a regular expression: {error}") from None
        matched = {name for name in names if expression.fullmatch(name)}
        if not matched:
            raise TransformerError(
                f"{argument}: {pattern!r} matches none of the {len(names)} names{near_miss(pattern, names)}"
            )
        chosen |= matched
    return [name for name in names if name in chosen]


def exactly(names: Iterable[str]) -> str:
    """A pattern that matches these names and no others.

    Example:
        >>> exactly(["head/kernel", "layer.0"])
        'head/kernel|layer\\\\.0'
    """
    return "|".join(map(re.escape, names))


def _is_model(layer: Any) -> bool:
    # Asked of the attribute, not of the class: this floor does not import Keras.
    return hasattr(layer, "layers") and hasattr(layer, "compile")
