"""How the examples run: TensorFlow quiet, mistakes of the user in one line, exit status 1 for them."""

import errno
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tftransformer.errors import TransformerError


def run_command(main: Callable[[Sequence[str]], Any]) -> None:
    """Run an example's `main` under absl, with errors a user can act on in place of tracebacks.

    Args:
        main: Takes the arguments that are not flags, as `absl.app.run` passes them.

    Example:
        >>> if __name__ == "__main__":  # doctest: +SKIP
        ...     run_command(main)
    """
    from absl import app

    def guarded(arguments: Sequence[str]) -> None:
        if len(arguments) > 1:
            _fail(f"every argument must be a flag, --name=value; got {arguments[1]!r}")
        from tftransformer.experiments.startup import start_quietly

        start_quietly()
        try:
            main(arguments)
        except TransformerError as error:
            _fail(str(error))
        except KeyboardInterrupt:
            _fail("interrupted", status=130)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
                raise
            _fail(f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror))

    app.run(guarded)


def _fail(message: str, status: int = 1) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(status)
