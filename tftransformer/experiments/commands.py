"""How the examples run: flags before TensorFlow, mistakes of the user in one line, exit status 1 for them."""

import dataclasses
import errno
import re
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from tftransformer.errors import TransformerError
from tftransformer.experiments.flag_names import name_flags
from tftransformer.experiments.startup import speak_any_encoding, start_quietly


class Terminated(BaseException):
    """The process was asked to end (SIGTERM): as `KeyboardInterrupt`, it is no failure of the work."""


def run_command(main: Callable[[Any], Any], read: Callable[[], Any] | None = None) -> None:
    """Run an example's `main` under absl, with errors a user can act on in place of tracebacks.

    SIGTERM ends the work as Ctrl-C does, so that a run notes that it was interrupted; the exit status is 143, as
    shells have it for a process that the signal ended.

    Args:
        main: Takes what `read` returned; without `read`, the arguments that are not flags, as `absl.app.run` passes
            them.
        read: Makes of the flags what `main` takes, and refuses what cannot be. It is called before Keras and
            TensorFlow are loaded, which takes seconds: a wrong flag is answered at once. It must not import them.

    Example:
        >>> if __name__ == "__main__":  # doctest: +SKIP
        ...     run_command(main, read_flags)
    """
    from absl import app

    speak_any_encoding()

    def guarded(arguments: Sequence[str]) -> None:
        if len(arguments) > 1:
            _fail(f"every argument must be a flag, --name=value; got {arguments[1]!r}")
        signal.signal(signal.SIGTERM, _terminate)
        sys.unraisablehook = _heard_again
        try:
            given = arguments if read is None else read()
            start_quietly()
            main(given)
        except TransformerError as error:
            _fail(name_flags(str(error), _flags_of_the_command()))
        except KeyboardInterrupt:
            _fail("interrupted", status=128 + signal.SIGINT)
        except Terminated:
            _fail("terminated", status=128 + signal.SIGTERM)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
                raise
            _fail(f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror))

    app.run(guarded, flags_parser=_parse)


def _parse(arguments: Sequence[str]) -> list[str]:
    """absl's parsing, with a wrong flag in one line as every other mistake."""
    from absl import flags

    try:
        return flags.FLAGS(list(arguments))
    except flags.Error as error:
        _fail(_plain_flag_error(str(error)))


def _plain_flag_error(message: str) -> str:
    for pattern, plain in (
        (r"flag --(\w+)=(.*): invalid literal for int\(\).*", r"--\1 must be a whole number; got '\2'"),
        (r"flag --(\w+)=(.*): could not convert string to float.*", r"--\1 must be a number; got '\2'"),
        (r"flag --(\w+)=(.*): \2 is not (an? .*)", r"--\1 must be \3; got '\2'"),
        (r"flag --(\w+)=(.*): value should be one of <(.*)>", r"--\1 must be one of \3; got '\2'"),
        (r"flag --(\w+)=(.*): \('Non-boolean.*", r"--\1 must be true or false; got '\2'"),
        (r"flag --(\w+)=None: Flag --\1 must have a value other than None.*", r"--\1 is missing"),
        (
            r"Unknown command line flag '(.*?)'\. Did you mean: (.*) \?",
            r"there is no flag --\1; did you mean --\2?",
        ),
        (r"Unknown command line flag '(.*?)'.*", r"there is no flag --\1"),
    ):
        if found := re.match(pattern, " ".join(message.split())):
            return f"{found.expand(plain).replace('|', ', ')} (--help lists the flags)"
    return message


def from_flags(options: type, **more: Any) -> Any:
    """An instance of a dataclass whose fields are flags; fields without a flag keep their defaults.

    Args:
        options: The dataclass; its `check()` looks at what lies on the disk.
        more: Fields that are not taken from the flags.

    Raises:
        TransformerError: As the dataclass and its `check`.
    """
    from absl import flags

    names = [field.name for field in dataclasses.fields(options)]
    made = options(**{name: flags.FLAGS[name].value for name in names if name in flags.FLAGS} | more)
    made.check()
    return made


def given_flags(options: type) -> dict[str, Any]:
    """The fields of a dataclass that are flags and stand on the command line, with their values."""
    from absl import flags

    names = [field.name for field in dataclasses.fields(options)]
    return {
        name: flags.FLAGS[name].value for name in names if name in flags.FLAGS and flags.FLAGS[name].present
    }


def _flags_of_the_command() -> list[str]:
    from absl import flags

    return [flag.name for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0])]


def _terminate(*_: Any) -> None:
    # A second signal ends the process at once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise Terminated("terminated")


def _heard_again(ignored: Any) -> None:
    """Python drops what a signal raises while the callback of a weak reference or a finaliser runs: ask once more."""
    for kind, number in ((Terminated, signal.SIGTERM), (KeyboardInterrupt, signal.SIGINT)):
        if issubclass(ignored.exc_type, kind):
            if kind is Terminated:
                signal.signal(number, _terminate)
            threading.Timer(0.05, _signal_main_thread, [number]).start()
            return
    sys.__unraisablehook__(ignored)


def _signal_main_thread(number: int) -> None:
    if hasattr(signal, "pthread_kill"):
        # To that thread, which otherwise sleeps on.
        signal.pthread_kill(threading.main_thread().ident, number)
    else:
        signal.raise_signal(number)


def _fail(message: str, status: int = 1) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(status)
