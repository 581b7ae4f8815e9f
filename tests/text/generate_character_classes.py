"""Writes tftransformer/text/character_classes.txt from the `tokenizers` library.

The classes are read off the byte-level splitter itself, one code point at a time, because its regular
expressions follow a Unicode version of their own. Run from the repository's root:

    python tests/text/generate_character_classes.py
"""

from pathlib import Path

from generate_code_points import CODE_POINTS, flag_lines
from tokenizers import __version__, pre_tokenizers

TARGET = Path("tftransformer/text/character_classes.txt")


def main():
    split = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
    members = {"letter": [], "number": [], "space": []}
    neighbours = {"letter": "a", "number": "1", "other": "!"}
    for c in CODE_POINTS:
        s = chr(c)
        kinds = [kind for kind, other in neighbours.items() if len(split(other + s)) == 1]
        # A space goes with no neighbour before it; the one that goes with the word after it is U+0020.
        kinds = kinds or ["space"]
        if len(kinds) != 1:
            raise SystemExit(f"U+{c:04X} is split in a way that character_classes.txt cannot say")
        if kinds != ["other"]:
            members[kinds[0]].append(c)
    lines = [
        f"# How Hugging Face's byte-level splitter (tokenizers {__version__}) classes each code point.",
        "# Written by tests/text/generate_character_classes.py; do not edit.",
        "# letter: \\p{L}. number: \\p{N}. space: \\s. Everything else goes with its like.",
    ]
    for kind, points in members.items():
        lines += flag_lines(kind, points)
    TARGET.write_text("\n".join(lines) + "\n", encoding="ascii")
    print(f"{TARGET}: {len(lines)} lines, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
