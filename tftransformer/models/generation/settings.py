"""The rules that the settings of a search keep, without Keras: a wrong flag need not wait for it."""

from typing import Any

from tftransformer.errors import TransformerError, check_whole


def check_sampling(temperature: Any, top_k: Any, top_p: Any, min_p: Any) -> None:
    """Raise a `TransformerError` unless the settings of `Sampling` are in their ranges."""
    check_positive("temperature", temperature)
    if top_k is not None:
        check_whole("top_k", top_k)
    if not is_number(top_p) or not 0 < top_p <= 1:
        raise TransformerError(f"top_p must be above 0 and at most 1; got {top_p!r}")
    if not is_number(min_p) or not 0 <= min_p < 1:
        raise TransformerError(f"min_p must be at least 0 and below 1; got {min_p!r}")


def check_beams(num_beams: Any, length_penalty: Any, num_texts: Any, num_groups: Any, diversity_penalty: Any) -> None:
    """Raise a `TransformerError` unless the settings of `BeamSearch` are in their ranges and go together."""
    check_whole("num_beams", num_beams)
    check_whole("num_texts", num_texts)
    check_whole("num_groups", num_groups)
    if not is_number(length_penalty) or not abs(length_penalty) < float("inf"):
        raise TransformerError(f"length_penalty must be a finite number; got {length_penalty!r}")
    if num_texts > num_beams:
        raise TransformerError(f"num_texts must be at most num_beams, {num_beams}; got {num_texts}")
    if num_beams % num_groups:
        raise TransformerError(f"num_groups must divide num_beams, {num_beams}; got {num_groups}")
    if num_groups > 1:
        check_positive("diversity_penalty", diversity_penalty)
    elif isinstance(diversity_penalty, bool) or diversity_penalty != 0:
        raise TransformerError(f"diversity_penalty must be 0 where num_groups is 1; got {diversity_penalty!r}")


def check_positive(name: str, value: Any) -> None:
    """Raise a `TransformerError` unless `value` is a finite number above 0."""
    if not is_number(value) or not 0 < value < float("inf"):
        raise TransformerError(f"{name} must be a positive number; got {value!r}")


def is_number(value: Any) -> bool:
    """Return whether `value` is an int or a float, but no bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
