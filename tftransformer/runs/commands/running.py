"""Running of commands: flags before TensorFlow, mistakes of the user in one line, exit status 1 for them."""

import codecs
import contextlib
import errno
import functools
import importlib
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import absl.logging
from absl import app, flags

from tftransformer.errors import TransformerError, near_miss
from tftransformer.runs.commands import COMMANDS
from tftransformer.runs.flags import flag_names, name_flags

# Until a signal that Python dropped is sent again.
_ASK_SECONDS = 0.3


class Terminated(BaseException):
    """The process was asked to end (SIGTERM): as `KeyboardInterrupt`, it is no failure of the work."""


def run_command(main: Callable[[Any], Any], read: Callable[[], Any] | None = None, *, words: str | None = None) -> None:
    """Run a program's `main` under absl, with errors a user can act on in place of tracebacks.

    SIGTERM ends the work as Ctrl-C does, so that a run notes that it was interrupted; the exit status is 143, as
    shells have it for a process that the signal ended.

    Args:
        main: Takes what `read` returned; without `read`, the arguments that are not flags, as `absl.app.run` passes
            them.
        read: Makes of the flags what `main` takes, and refuses what cannot be. It is called before Keras and
            TensorFlow are loaded, which takes seconds: a wrong flag is answered at once. It must not import them.
        words: The flag that bare words are values of: all of them where it may be given several times, else the first
            argument. None: every argument must be a flag.

    Example:
        >>> if __name__ == "__main__":  # doctest: +SKIP
        ...     run_command(main, read_flags)
    """
    replace_unencodable()

    def guarded(arguments: Sequence[str]) -> None:
        if len(arguments) > 1:
            _fail(f"every argument must be a flag, --name=value; got {arguments[1]!r}")
        signal.signal(signal.SIGTERM, _terminate)
        sys.unraisablehook = _send_again
        try:
            given = arguments if read is None else read()
            start_quietly()
            main(given)
        except TransformerError as error:
            own = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
            _fail(name_flags(str(error), [flag.name for flag in own], *flag_names(own)))
        except KeyboardInterrupt:
            _fail("interrupted", status=128 + signal.SIGINT)
        except Terminated:
            _fail("terminated", status=128 + signal.SIGTERM)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
                raise
            _fail(f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror))

    app.run(guarded, flags_parser=functools.partial(_parse, words))


def run_program(command: ModuleType) -> None:
    """Run a command, from its flags to its work.

    Args:
        command: Module with `FLAGS`, the `OptionFlags` that it takes, and `run`, which is called with the options of each
            of them; or with what its `read_flags()` returns, which is called before TensorFlow is loaded. Bare words
            are values of the flag `WORDS`, if the module names one.
    """
    for part in command.FLAGS:
        part.define()
    read = getattr(command, "read_flags", lambda: [part.read() for part in command.FLAGS])
    run_command(lambda options: command.run(*options), read, words=getattr(command, "WORDS", None))


def _parse(words: str | None, arguments: Sequence[str]) -> list[str]:
    """absl's parsing, with a wrong flag in one line as every other mistake."""
    program, *rest = arguments
    if words:
        most = len(rest) if flags.FLAGS[words].flag_type().startswith("multi") else 1
        named = (word if word.startswith("-") else f"--{words}={word}" for word in rest[:most])
        rest = [*named, *rest[most:]]
    try:
        return flags.FLAGS([program, *rest])
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
        (r"Unknown command line flag '(.*?)'\. Did you mean: (.*) \?", r"there is no flag --\1; did you mean --\2?"),
        (r"Unknown command line flag '(.*?)'.*", r"there is no flag --\1"),
    ):
        if found := re.match(pattern, " ".join(message.split())):
            near = near_miss(found[2], found[3].split("|")) if "one of" in plain else ""
            return f"{found.expand(plain).replace('|', ', ')}{near} (--help lists the flags)"
    return message


def _terminate(*_: Any) -> None:
    # A second signal ends the process at once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise Terminated("terminated")


def _send_again(ignored: Any) -> None:
    """Send the signal again: Python drops what it raises while the callback of a weak reference or a finaliser runs."""
    for kind, number in ((Terminated, signal.SIGTERM), (KeyboardInterrupt, signal.SIGINT)):
        if issubclass(ignored.exc_type, kind):
            _ask_later(number)
            return
    sys.__unraisablehook__(ignored)


def _ask_later(number: int) -> None:
    # What is raised in here Python drops as well. A busy machine may take longer to start a thread than another one
    # waits: hence the long wait, and one more thread where it was not long enough.
    while True:
        if number == signal.SIGTERM:
            signal.signal(number, _terminate)
        try:
            threading.Timer(_ASK_SECONDS, _signal_main_thread, [number]).start()
            return
        except (KeyboardInterrupt, Terminated):
            continue


def _signal_main_thread(number: int) -> None:
    if hasattr(signal, "pthread_kill"):
        # To that thread, which otherwise sleeps on.
        signal.pthread_kill(threading.main_thread().ident, number)
    else:
        signal.raise_signal(number)


def _fail(message: str, status: int = 1) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(status)


def main(arguments: Sequence[str]) -> None:
    """`python -m tftransformer`: the command that the first argument names, or a list of all."""
    name, *rest = arguments or [""]
    if name in ("", "-h", "--help", "help"):
        print(_listing())
    elif name not in COMMANDS:
        _fail(f"there is no command {name!r}{near_miss(name, COMMANDS)} (python -m tftransformer lists them)")
    else:
        command = _command(name)
        sys.argv[:] = [f"python -m tftransformer {name}", *rest]
        # What --help begins with.
        sys.modules["__main__"].__doc__ = command.__doc__
        run_program(command)


def _command(name: str) -> ModuleType:
    return importlib.import_module(f"tftransformer.runs.commands.{name}")


def _listing() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {_command(name).__doc__.partition(chr(10))[0]}" for name in COMMANDS]
    return "\n".join([
        "python -m tftransformer COMMAND --flag=value ..., where COMMAND is one of", "", *lines, "",
        "python -m tftransformer COMMAND --help lists its flags.",
    ])  # fmt: skip


# Lines in glog's format of level info or warning, and the continuation that TensorFlow prints below one of them.
_CHATTER = re.compile(
    r"^([IW]\d{4} |\d{4}-\d\d-\d\d [\d:.]+: [IW] |WARNING: All log messages before absl::InitializeLog|To enable the following)"
)

# What programs here write beside ASCII, for terminals and files of another encoding.
_PLAIN = {"…": "...", "±": "+-", "↓": "v", "·": ".", "×": "x", "–": "-", "²": "^2"}


def replace_unencodable() -> None:
    """Have standard output and error write characters that their encoding lacks in another way, instead of failing."""
    codecs.register_error("tftransformer.plain", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="tftransformer.plain")


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if character not in _PLAIN:
        return character.encode("ascii", "backslashreplace").decode("ascii"), error.start + 1
    return _PLAIN[character], error.start + 1


def start_quietly() -> None:
    """Import Keras and, where that is its backend, TensorFlow without start-up messages; errors still appear.

    TF_CPP_MIN_LOG_LEVEL, which the user may set, silences what TensorFlow logs later on; what it logs
    while it is being loaded goes straight to the standard error stream and is filtered here.

    TF_ENABLE_ONEDNN_OPTS, which the user may set, is 1: by itself TensorFlow uses oneDNN only on CPUs with instructions
    for neural networks (VNNI and newer), while older ones train faster with it, too.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with _without_chatter():
        import keras

        if keras.backend.backend() == "tensorflow":
            import tensorflow
            import tensorflow_text  # noqa: F401

            # Its Python side tells of every file of a SavedModel.
            tensorflow.get_logger().setLevel("ERROR")
    absl.logging.set_verbosity(absl.logging.ERROR)


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Hold back the process's standard error, then write the lines that are not chatter."""
    sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # no standard error at all, as in some services
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            for line in held.read().decode("utf-8", "replace").splitlines(keepends=True):
                if not _CHATTER.match(line):
                    sys.stderr.write(line)
