"""Writes tftransformer/text/code_points.txt from the `tokenizers` library.

Every rule is read off the library itself, one code point at a time, because its character classes
come from several Unicode versions at once. Run from the repository's root:

    python tests/text/generate_code_points.py
"""

import unicodedata
from pathlib import Path

from tokenizers import __version__, normalizers, pre_tokenizers

TARGET = Path("tftransformer/text/code_points.txt")
HANGUL = range(0xAC00, 0xD7A4)
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
PER_LINE = 12
# Two combining marks that stay when accents are stripped, of a high and a low combining class.
HIGH, LOW = "\u08d4", "\u1b44"


def normalizer(**switches):
    settings = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    return normalizers.BertNormalizer(**{**settings, **switches}).normalize_str


def combining_classes():
    """Canonical combining class of every code point, as the library's NFD orders them.

    A mark moves in front of a mark of a higher class and of no other, so tries beside marks of every
    known class bound its class. Where Python's own value lies within the bounds, it is the value.
    """
    nfd = normalizers.NFD().normalize_str
    witnesses = {}
    for c in range(0x300, 0x1000):
        value = unicodedata.combining(chr(c))
        if value and nfd(chr(c)) == chr(c):
            witnesses.setdefault(value, chr(c))
    classes = {}
    for c in CODE_POINTS:
        value = unicodedata.combining(chr(c))
        if value == 0:
            continue
        above = [k for k, w in witnesses.items() if nfd("a" + w + chr(c)) == "a" + chr(c) + w]
        below = [k for k, w in witnesses.items() if nfd("a" + chr(c) + w) == "a" + w + chr(c)]
        if not above and not below:
            continue  # assigned after the library's tables: it is ordered as a letter
        if not max(below, default=0) <= value <= min(above, default=255):
            raise SystemExit(f"U+{c:04X}: class {value} does not fit what the library does")
        classes[c] = value
    return classes


def runs(entries):
    """(first, last, value) for runs of neighbouring code points with one value."""
    run = None
    for c, value in entries:
        if run and c == run[1] + 1 and value == run[2]:
            run[1] = c
            continue
        if run:
            yield tuple(run)
        run = [c, c, value]
    if run:
        yield tuple(run)


def span(first, last):
    return f"{first:04X}" if first == last else f"{first:04X}-{last:04X}"


def flag_lines(kind, members):
    return [f"{kind} {span(a, b)}" for a, b, _ in runs((c, 1) for c in sorted(members))]


def mapping_lines(kind, mapping):
    """Runs of neighbours, each mapped to one or more code points (joined by +), a few to a line."""
    lines, start, values = [], None, []
    for c in sorted(mapping):
        if start is None or c != start + len(values) or len(values) == PER_LINE:
            if values:
                lines.append(f"{kind} {span(start, start + len(values) - 1)} {' '.join(values)}")
            start, values = c, []
        values.append("+".join(f"{ord(x):04X}" for x in mapping[c]))
    if values:
        lines.append(f"{kind} {span(start, start + len(values) - 1)} {' '.join(values)}")
    return lines


def main():
    clean, cjk = normalizer(clean_text=True), normalizer(handle_chinese_chars=True)
    strip, lower = normalizer(strip_accents=True), normalizer(lowercase=True)
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    classes = combining_classes()
    dropped, spaces, chinese, punctuation, marks, breaks = [], [], [], [], [], []
    stripped, lowered, ordered = {}, {}, []
    for c in CODE_POINTS:
        s = chr(c)
        cleaned = clean(s)
        if cleaned == "":
            dropped.append(c)
            continue
        pieces = len(split(f"a{s}b"))
        if cleaned == " ":
            spaces.append(c)
            continue
        if cleaned != s or pieces == 2:
            raise SystemExit(f"U+{c:04X} is cleaned or split in a way that code_points.txt cannot say")
        if pieces == 3:
            punctuation.append(c)
        if cjk(s) != s:
            chinese.append(c)
        without = strip(s)
        if without == "":
            passes = strip("a" + HIGH + s + LOW) == "a" + LOW + HIGH
            (marks if passes else breaks).append(c)
            first = ord(normalizers.NFD().normalize_str(s)[0])
            if passes and first in classes:
                ordered.append((c, classes[first]))
        elif without != s and c not in HANGUL:
            stripped[c] = without
        elif without == s and c in classes:
            ordered.append((c, classes[c]))
        if lower(s) != s:
            lowered[c] = lower(s)
    lines = [
        f"# What Hugging Face's fast BERT tokenizer (tokenizers {__version__}) makes of each code point.",
        "# Written by tests/text/generate_code_points.py; do not edit.",
        "# drop: removed as a control character. space: a separator. cjk: a word of its own where CJK is",
        "# split. punctuation: a word of its own. mark: removed with the accents, and does not stop marks",
        "# around it from being put in canonical order. break: removed with the accents, and stops that.",
        "# class: its combining class, or that of its first part, of marks and of what is ordered like them.",
        "# strip: what is left of it without accents (Hangul syllables are computed). lower: its lower case.",
    ]
    for kind, members in (
        ("drop", dropped),
        ("space", spaces),
        ("cjk", chinese),
        ("punctuation", punctuation),
        ("mark", marks),
        ("break", breaks),
    ):
        lines += flag_lines(kind, members)
    lines += [f"class {span(a, b)} {value}" for a, b, value in runs(ordered)]
    lines += mapping_lines("strip", stripped) + mapping_lines("lower", lowered)
    TARGET.write_text("\n".join(lines) + "\n", encoding="ascii")
    print(f"{TARGET}: {len(lines)} lines, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
