"""Reading a whole text file, strictly: UTF-8 or an error that says on which line it is not."""

from __future__ import annotations

from pathlib import Path

from tftransformer.errors import TransformerError, near_miss

_BYTE_ORDER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def existing_path(path: str | Path, argument: str = "") -> Path:
    """The path, or an error that lists names in the same folder which are nearly the same.

    Args:
        path: The path.
        argument: Name of the argument, for the message.
    """
    path = Path(path).expanduser()
    if path.exists():
        return path
    folder = path.parent
    named = f"{argument}: {path}" if argument else str(path)
    if not folder.is_dir():
        raise TransformerError(f"{named} does not exist, nor does its folder {folder}")
    names = sorted(entry.name for entry in folder.iterdir())
    raise TransformerError(f"{named} does not exist{near_miss(path.name, names)}")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without its byte order mark.

    Raises:
        TransformerError: if the file cannot be read, is empty, is not UTF-8 or holds NUL bytes;
            with the line number for the last two.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TransformerError(f"{path} cannot be read: {error.strerror}") from error
    if data[:2] in _BYTE_ORDER_MARKS:
        raise TransformerError(f"{path}:1: not UTF-8 but {_BYTE_ORDER_MARKS[data[:2]]}; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The error's position counts in what was decoded, which the byte order mark is not part of.
        start = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        line = data.count(b"\n", 0, start) + 1
        raise TransformerError(f"{path}:{line}: not UTF-8, byte 0x{data[start]:02x}; save the file as UTF-8") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise TransformerError(f"{path}:{line}: a NUL byte; is this a text file?")
    if not text.strip():
        raise TransformerError(f"{path} is empty")
    return text


def split_lines(text: str) -> list[str]:
    """Lines ended by LF, CRLF or, where there is no LF at all, CR. Other Unicode line breaks are text."""
    if "\n" not in text and "\r" in text:
        return text.split("\r")
    return [line[:-1] if line.endswith("\r") else line for line in text.split("\n")]
