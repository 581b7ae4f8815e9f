"""Plain text for pretraining: finding files, reading paragraphs, cutting them into sentences."""

import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from tftransformer.errors import TransformerError

SUFFIXES = (".txt", ".txt.gz")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+")


def find_text_files(paths: str | os.PathLike | Iterable[str | os.PathLike]) -> list[Path]:
    """Text files by name: files as they are, folders searched for `.txt` and `.txt.gz`, subfolders too.

    Raises:
        TransformerError: A path does not exist, or a folder holds no text.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.txt").write_text("A text.")
        >>> [path.name for path in find_text_files(folder)]
        ['a.txt']
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    found: list[Path] = []
    for given in paths:
        path = Path(given).expanduser()
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.name.endswith(SUFFIXES) and p.is_file())
            if not inside:
                raise TransformerError(f"texts: the folder {path} holds no {' or '.join(SUFFIXES)} file")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise TransformerError(f"texts: there is no file or folder {path}")
    if not found:
        raise TransformerError("texts must name at least one file or folder; got none")
    return found


def read_paragraphs(path: str | os.PathLike) -> Iterator[str]:
    """The lines of a UTF-8 text file, plain or gzipped; "" where blank lines end a document.

    Raises:
        TransformerError: The file is not UTF-8 (with the line number) or a damaged `.gz`.
    """
    path = Path(path)
    opener = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rb") as file:
        try:
            for number, line in enumerate(file, 1):
                yield line.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise TransformerError(f"{path}, line {number}: the text is not UTF-8") from None
        except (EOFError, OSError, zlib.error) as error:
            raise TransformerError(f"{path} is damaged or no gzip file ({error})") from None


def sentences(paragraph: str) -> list[str]:
    """A paragraph cut behind full stops, question and exclamation marks.

    A rule of thumb (it also cuts behind "Dr."): the pieces only have to be texts, not sentences.

    Example:
        >>> sentences('He left. "Why?" she asked.')
        ['He left.', '"Why?"', 'she asked.']
    """
    ends = [match.end() for match in _SENTENCE_END.finditer(paragraph)]
    cuts = [paragraph[start:end].strip() for start, end in zip([0, *ends], [*ends, len(paragraph)], strict=True)]
    return [cut for cut in cuts if cut]
