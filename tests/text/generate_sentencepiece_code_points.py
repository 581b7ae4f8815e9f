"""Writes tftransformer/text/sentencepiece_code_points.txt: rules by code point, read off `tokenizers`.

python tests/text/generate_sentencepiece_code_points.py   (from the repository root; takes minutes)

The library's normalizer of SentencePiece maps looks up whole grapheme clusters of fewer than six bytes. Which
characters join into clusters is therefore asked of it with maps made for the question: where a cluster is joined, all
of it is replaced by what its first characters map to.
"""

import tempfile
from pathlib import Path

import sentencepiece
from tokenizers import __version__, normalizers

from tftransformer.text.sentencepiece_model import parse_model

TARGET = Path("tftransformer/text/sentencepiece_code_points.txt")
HANGUL = range(0xAC00, 0xD7A4)
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
PER_LINE = 12
ACUTE, TONOS, JOINER, KA, VIRAMA, TRADE_MARK = "\u0301", "\u0344", "\u200d", "\u0915", "\u094d", "\u2122"


def replacing(characters):
    """The normalizer that replaces each of `characters` by Y."""
    with tempfile.TemporaryDirectory() as folder:
        rules, text = Path(folder, "rules.tsv"), Path(folder, "text.txt")
        rules.write_text("".join(f"{ord(c):04X}\t59\n" for c in characters))
        text.write_text("a b c d e f g\n" * 20)
        sentencepiece.SentencePieceTrainer.train(
            input=str(text),
            model_prefix=f"{folder}/model",
            vocab_size=16,
            hard_vocab_limit=False,
            normalization_rule_tsv=str(rules),
            minloglevel=2,
        )
        charsmap = parse_model(Path(folder, "model.model").read_bytes()).charsmap
    return normalizers.Precompiled(charsmap).normalize_str


def grapheme_flags():
    """Flag -> the code points that have it."""
    plain = replacing(["X", TRADE_MARK, KA, TONOS])
    joins = [c for c in CODE_POINTS if plain("X" + chr(c)) == "Y"]
    picture = [c for c in CODE_POINTS if plain(chr(c) + JOINER + TRADE_MARK + ACUTE).endswith(ACUTE)]
    consonant = [c for c in CODE_POINTS if plain(chr(c) + VIRAMA + KA + ACUTE).endswith(ACUTE)]
    linker = [c for c in joins if plain(KA + chr(c) + KA + ACUTE).endswith(ACUTE)]
    flags = {
        "joins": joins,
        "picture": picture,
        "consonant": consonant,
        "linker": linker,
        "between_consonants": [c for c in joins if plain(KA + VIRAMA + chr(c) + KA + ACUTE).endswith(ACUTE)],
        "between_pictures": [c for c in joins if plain("©" + chr(c) + JOINER + TRADE_MARK + ACUTE).endswith(ACUTE)],
        "alone": [c for c in CODE_POINTS if c != ord("X") and plain(chr(c) + TONOS + ACUTE).endswith("Y")],
        "leads": [],
    }
    # Only a cluster that begins with at most three bytes can have fewer than six.
    for start in range(0, 0x10000, 0x4000):
        block = [c for c in CODE_POINTS if start <= c < start + 0x4000]
        replace = replacing([chr(c) for c in block if chr(c) not in "\0aY"])
        flags["leads"] += [c for c in block if replace(chr(c) + "a") == "Y"]
    return flags


def runs(members):
    """(first, last) of runs of neighbouring code points."""
    run = None
    for c in sorted(members):
        if run and c == run[1] + 1:
            run[1] = c
            continue
        if run:
            yield tuple(run)
        run = [c, c]
    if run:
        yield tuple(run)


def span(first, last):
    return f"{first:04X}" if first == last else f"{first:04X}-{last:04X}"


def mapping_lines(kind, mapping):
    """Runs of neighbours, each mapped to some code points (joined by +; none is -), a few to a line."""
    lines, start, values = [], None, []
    for c in [*sorted(mapping), None]:
        if c is None or start is None or c != start + len(values) or len(values) == PER_LINE:
            if values:
                lines.append(f"{kind} {span(start, start + len(values) - 1)} {' '.join(values)}")
            start, values = c, []
        if c is not None:
            values.append("+".join(f"{ord(x):04X}" for x in mapping[c]))
    return lines


def main():
    fold = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents()]).normalize_str
    lower = normalizers.Lowercase().normalize_str
    folded = {c: fold(chr(c)) for c in CODE_POINTS if c not in HANGUL}
    lowered = {c: lower(chr(c)) for c in CODE_POINTS}
    lines = [
        f"# Code points in the normalisation of SentencePiece texts, as tokenizers {__version__} treats them.",
        "# Written by tests/text/generate_sentencepiece_code_points.py; do not edit.",
        "# joins: belongs to the grapheme cluster before it. alone: no cluster reaches over it. leads: the next",
        "# character belongs to its cluster. picture, between_pictures, consonant, linker, between_consonants: what",
        "# emoji and Indic clusters consist of. mark: dropped with the accents. fold: its compatibility decomposition",
        "# without accents (Hangul syllables are computed). lower: its lower case.",
    ]
    flags = {**grapheme_flags(), "mark": [c for c, text in folded.items() if not text]}
    for kind, members in flags.items():
        lines += [f"{kind} {span(*run)}" for run in runs(members)]
    lines += mapping_lines("fold", {c: text for c, text in folded.items() if text and text != chr(c)})
    lines += mapping_lines("lower", {c: text for c, text in lowered.items() if text != chr(c)})
    TARGET.write_text("\n".join(lines) + "\n", encoding="ascii")
    print(f"{TARGET}: {len(lines)} lines, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
