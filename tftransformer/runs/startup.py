"""Quiet start of Keras and TensorFlow for command-line programs: start-up messages are kept off the screen."""

import codecs
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

import absl.logging

# Lines in glog's format of level info or warning, and the continuation that TensorFlow prints below one of them.
_CHATTER = re.compile(
    r"^([IW]\d{4} |\d{4}-\d\d-\d\d [\d:.]+: [IW] |WARNING: All log messages before absl::InitializeLog|To enable the following)"
)

# What programs here write beside ASCII, for terminals and files of another encoding.
_PLAIN = {"…": "...", "±": "+-", "↓": "v", "·": ".", "×": "x", "–": "-", "²": "^2"}


def speak_any_encoding() -> None:
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

    Raises:
        ImportError: Keras's backend is not installed.
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
