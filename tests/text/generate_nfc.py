"""Writes tftransformer/text/nfc.txt from the `tokenizers` library.

Every rule is read off the library itself, because its Unicode version is not Python's. Run from the repository's root:

    python tests/text/generate_nfc.py
"""

from pathlib import Path

from generate_code_points import CODE_POINTS, HANGUL, combining_classes, mapping_lines, runs, span
from tokenizers import __version__, normalizers

TARGET = Path("tftransformer/text/nfc.txt")


def pairs(decomposed, nfc):
    """Each character that composition makes, with the two that it is made of."""
    found = {}
    for c, parts in decomposed.items():
        if nfc(chr(c)) != chr(c):
            continue  # it is taken apart and never put together again
        first = nfc(parts[:-1])
        if len(first) != 1 or nfc(first + parts[-1]) != chr(c):
            raise SystemExit(f"U+{c:04X} is not made of two characters")
        found[c] = first + parts[-1]
    return found


def main():
    nfd, nfc = normalizers.NFD().normalize_str, normalizers.NFC().normalize_str
    decomposed = {c: nfd(chr(c)) for c in CODE_POINTS if c not in HANGUL}
    decomposed = {c: text for c, text in decomposed.items() if text != chr(c)}
    lines = [
        f"# Canonical composition (NFC), as tokenizers {__version__} does it. Hangul syllables are computed.",
        "# Written by tests/text/generate_nfc.py; do not edit.",
        "# class: its combining class, where that is not 0. decompose: its full canonical decomposition.",
        "# compose: the two characters that it is put together of.",
        *(f"class {span(a, b)} {value}" for a, b, value in runs(sorted(combining_classes().items()))),
        *mapping_lines("decompose", decomposed),
        *mapping_lines("compose", pairs(decomposed, nfc)),
    ]
    TARGET.write_text("\n".join(lines) + "\n", encoding="ascii")
    print(f"{TARGET}: {len(lines)} lines, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
