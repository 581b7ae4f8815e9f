"""Texts that tokenizers get wrong, shared by the golden generator and the tests."""

import hashlib
import string
from pathlib import Path

import numpy as np
import pytest

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SETTINGS = {
    "uncased": {"lowercase": True, "strip_accents": None, "split_on_cjk": True},
    "cased": {"lowercase": False, "strip_accents": None, "split_on_cjk": True},
    "uncased_accents": {"lowercase": True, "strip_accents": False, "split_on_cjk": True},
    "cased_stripped": {"lowercase": False, "strip_accents": True, "split_on_cjk": False},
}
# The settings to sweep all code points with: two differ in everything, the others take their time.
SWEPT = [
    "uncased",
    "cased_stripped",
    pytest.param("cased", marks=pytest.mark.slow),
    pytest.param("uncased_accents", marks=pytest.mark.slow),
]
BYTE_BPE_SETTINGS = {
    "plain": {},
    "prefixed": {"add_prefix_space": True},
    "untrimmed": {"trim_offsets": False},
    "prefixed_untrimmed": {"add_prefix_space": True, "trim_offsets": False},
}
BYTE_BPE_FILES = ("vocab.json", "merges.txt")
BLOCK = 4096
# Blocks with assigned code points (of the private planes the ends), and one of an empty plane.
BLOCKS = [*range(0x00, 0x34), 0x50, 0xE0, 0xF0, 0xFF, 0x100, 0x10F]

TEXTS = [
    "",
    " ",
    " \t\n\r\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000",
    "\x0b\x0c\x1c\x1d\x1e\x1f\x85",
    "The quick brown fox, they said, isn't unaffable.",
    "literal [CLS] [SEP] [MASK] [PAD] [UNK] and [unused1] ##ing ## #",
    "Crème brûlée, naïve façade; Ångström ÆØÅ",
    "e\u0301 o\u0308 a\u0323\u0307 \u0301alone q\u0307\u0323",
    "İstanbul ıslak ΣΊΣΥΦΟΣ ΑΣ straße ẞ ǅ ﬁ ﬀ",
    "日本語とEnglish 漢字かな混じり文 \uf900\U00020000\U0002f800",
    "한국어 한글 각 힣 \u1112\u1161\u11ab",
    "שלום עולם مرحبا بالعالم \u202eRTL\u202c לָ֫",
    "हिन्दी ภาษาไทย বাংলা தமிழ்",
    "👩\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈 👍🏽 ☺\ufe0f",
    "zero\u200bwidth soft\u00adhyphen word\u2060joiner \ufeffbom a\u200db",
    "nul\x00in\x00side bell\x07 esc\x1b[0m del\x7f",
    "\ufffd repl\ufffdaced \ufffe\uffff",
    "private \ue000\uf8ff\U000f0000\U0010fffd",
    "unassigned \u0378\u0530\U0001fbff\U0003ffff\U000e0080",
    "tags \U000e0001\U000e0041 variation a\ufe00\U000e0100",
    "1e-5 3.14 $5 50% a@b.c x_y ~ ` ^ | \\ < > = + 中a中1中",
    "“quotes” ‘single’ — dash… ¿qué? ¡no! «oui» ・、。！？",
    "\u037e \u1fef \u2260 \u212b \u2126 \u0340\u0341\u0343\u0344",
    "\U0001d15e\U0001d15f\U0001d1bb \ua953\u302e \u302e\ua953 \U0001d165\u0344\u1b44 \u302f\u034f\u1b44",
    "ж" * 99 + " " + "ж" * 100 + " " + "ж" * 101,
    "é" * 100 + " " + "é" * 101 + " " + "e\u0301" * 100 + " " + "가" * 50 + " " + "가" * 51,
    "a" * 10_000,
    "un" * 50 + " " + "un" * 51,
    "x" * 99 + "\x00" * 5 + "y",
    "\U0001f600" * 100 + " " + "𝒜𝓑" * 51,
    "trailing space ",
    "Ünïcödé MIXED cAsE ÀÉÎÕÜ Ёлка Йод",
]

# What byte-level BPE gets wrong: contractions, spaces of all kinds, its own special tokens, long words.
BYTE_TEXTS = [
    "I'm you're we've they'll he'd it's don't",
    "I'M YOU'RE ''s 'sx 's's 'll've 'rex 'v 'l ' s !'s a'b \t's \n're  've",
    "'",
    "x'",
    "x'l",
    "  two  spaces   three    ",
    "tab\tand\t\ttwo \t mixed \n \n\n end \n",
    "\u00a0no\u00a0break \u3000wide\u3000 \u2003 em \x85 nel",
    " begins with one",
    "  begins with two",
    "\nbegins with a line",
    "literal <s> </s> <pad> <unk> <mask> <mask>x <|endoftext|> Ġ Ċ ĠĠ",
    "2nd 3.14159 ² ½ Ⅷ ٣٤ 五 1,000,000",
    "".join(chr(97 + i * i * 7 % 26) for i in range(10_000)),
    "".join(chr(0x4E00 + i * i * 31 % 20_000) for i in range(10_000)),
    "ab" * 5_000,
    " " * 10_000,
    "e\u0301" * 5_000,
    "'s" * 5_000,
]

BYTES = [
    b"\xff",
    b"ab\xffcd",
    b"\xe4\xb8",
    b"\xe4\xb8a",
    b"\xc0\x80",
    b"\xed\xa0\x80x",
    b"\xf4\x90\x80\x80y",
    b"a\xf0\x9f\x98b",
    b"caf\xe9 noir",
    b"\x80\x80\x80",
    b"ok",
]


def digest(ids, starts, ends) -> str:
    """A hash of the tokens of one text and of their places."""
    return hashlib.sha256(np.array([ids, starts, ends], "<i4").tobytes()).hexdigest()[:12]


def digests(tokens) -> list[str]:
    """The digest of each text of a batch of `Tokens`."""
    splits = tokens.ids.row_splits.numpy()
    parts = [part.values.numpy() for part in tokens]
    return [digest(*(part[a:b] for part in parts)) for a, b in zip(splits[:-1], splits[1:], strict=True)]


def byte_bpe_files() -> dict[str, bytes]:
    """The small vocabulary and the merges that generate_byte_bpe.py trained."""
    return {name: (Path(__file__).parent / "byte_bpe" / name).read_bytes() for name in BYTE_BPE_FILES}


def folder_texts(folder: Path) -> dict[str, list[str]]:
    """The lines of every text file of a folder in some languages, by the file's name."""
    patterns = (
        "chnsenticorp/test.tsv",
        "multi30k/test*",
        "multilingual_sentiment/*_test.tsv",
        "stsb_multi/*-test.csv",
        "xnli/test.*",
    )
    paths = sorted(path for pattern in patterns for path in folder.glob(pattern))
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8").split("\n") for path in paths}


def block_text(block: int) -> str:
    """Every code point of a block, alone and between letters."""
    points = range(block * BLOCK, (block + 1) * BLOCK)
    return " ".join(f"{chr(c)} a{chr(c)}b" for c in points if not 0xD800 <= c < 0xE000)


def vocabulary() -> list[str]:
    """A small vocabulary in which most of TEXTS is known and some of it is not."""
    letters = string.ascii_lowercase + string.ascii_uppercase + string.digits
    others = "жёлкайодЁЙЮйстрßæøιςσαυφοşı日本語漢字かなとのעבשלוםمرحباहनदภาษไย가각éèêåÅçïîöüÜñ\u0301\u0308\u0307"
    others += "\u1112\u1161\u11ab\u1100\u11a8\u302e\ua953\u1b44\U0001d165☺🌈👩👍🏽\U0001f600𝒜"
    characters = list(dict.fromkeys(letters + others))
    pieces = [
        "the",
        "quick",
        "##ick",
        "un",
        "##aff",
        "##able",
        "##un",
        "isn",
        "they",
        "##ing",
        "said",
        "crem",
        "##eme",
        "жж",
        "##жж",
        "##жжж",
        "日本",
        "##ée",
        "straße",
        "[unused1]",
        "e\u0301",
        "\u1112\u1161",
        "MIX",
        "##ED",
    ]
    tokens = [
        *SPECIAL,
        *string.punctuation,
        *characters,
        *("##" + c for c in characters if c not in "qé語🌈"),
        *pieces,
        *"—…“”¿、。",
    ]
    return list(dict.fromkeys(tokens))
