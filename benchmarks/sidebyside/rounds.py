"""Interleaved rounds: A B C A B C, one contender working at a time, so that a slow minute hits all alike."""

import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sidebyside.child import Child, ChildFailed
from sidebyside.contenders import Contender, Outcome
from tftransformer.errors import TransformerError


def run_rounds(
    contenders: Sequence[Contender],
    rounds: int,
    *,
    say: Callable[[str], None] = print,
    timeout: float = 900.0,
    together: bool = True,
    preparing: int = 1,
    logs: Path | None = None,
) -> dict[str, Outcome]:
    """Let each contender prepare itself, then hand out turns one at a time.

    A contender that fails keeps the turns it has, gets a reason in one line, and the others go on.

    Args:
        contenders: Who takes part, in the order of the turns.
        rounds: Turns for each.
        say: Receives a line of progress at a time.
        timeout: Seconds that a preparation or a turn may take.
        together: False for models too large to be in memory at once: one contender after the other takes all
            its turns.
        preparing: How many prepare themselves at a time. With more than one, how long that takes says little.
        logs: A folder that keeps what the workers print; None keeps nothing.

    Returns:
        An `Outcome` for each name, in the order of the contenders.

    Raises:
        TransformerError: Two contenders share a name, or rounds is below 1.

    Example:
        >>> run_rounds([Contender("peak", "gemm_peak.py", {"dtypes": ["float32"]})], 3)  # doctest: +SKIP
    """
    names = [contender.name for contender in contenders]
    if doubles := {name for name in names if names.count(name) > 1}:
        raise TransformerError(f"contenders must have different names; got {sorted(doubles)[0]!r} twice")
    if rounds < 1:
        raise TransformerError(f"rounds must be at least 1; got {rounds}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if logs is None else Path(logs)
        folder.mkdir(parents=True, exist_ok=True)
        groups = [contenders] if together else [[contender] for contender in contenders]
        found: dict[str, Outcome] = {}
        for group in groups:
            found.update(_interleave(group, rounds, say, timeout, preparing, folder))
    return found


def _interleave(
    contenders: Sequence[Contender],
    rounds: int,
    say: Callable[[str], None],
    timeout: float,
    preparing: int,
    folder: Path,
) -> dict[str, Outcome]:
    outcomes = {contender.name: Outcome(contender) for contender in contenders}
    children: dict[str, Child] = {}

    def attempt(name: str, step: Callable[[], None]) -> None:
        try:
            step()
        except ChildFailed as failure:
            outcomes[name].failure = str(failure)
            say(f"{name}: {failure}")
            children.pop(name).end()

    speaking = threading.Lock()

    def prepare(name: str) -> None:
        with speaking:
            say(f"preparing {name}")
        contender = outcomes[name].contender
        children[name] = Child(contender, folder / f"{_file_name(name)}.log")
        outcomes[name].ready = children[name].prepare(timeout)

    def takes_turn(name: str, number: int) -> bool:
        return name in children and number < (outcomes[name].contender.rounds or rounds)

    def turn(name: str, number: int) -> None:
        outcomes[name].turns.append(children[name].turn(number, timeout))

    def stop(name: str) -> None:
        outcomes[name].peak_bytes = children[name].stop(min(timeout, 60.0))

    try:
        with ThreadPoolExecutor(preparing) as pool:
            list(pool.map(lambda name: attempt(name, lambda: prepare(name)), outcomes))
        for number in range(rounds):
            for name in [name for name in outcomes if takes_turn(name, number)]:
                say(f"round {number + 1} of {rounds}: {name}")
                attempt(name, lambda: turn(name, number))
        for name in list(children):
            attempt(name, lambda: stop(name))
    finally:
        for child in children.values():
            child.end()
    return outcomes


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)
