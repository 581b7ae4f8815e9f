"""Folding of texts: the form in which two texts count as the same one.

Unicode NFKC, then case folding, then every run of whitespace becomes one space. NFKC runs again
after case folding because folding can leave characters that compose anew (Unicode 3.13, D146).
"""

import unicodedata

# A string, or a pair of them.
Text = str | tuple[str, str]


def fold(text: str) -> str:
    """The text as it is compared with others.

    Example:
        >>> fold("  Ｆｕｌｌ  WIDTH\\nStraße ")
        'full width strasse'
    """
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", text)
    folded = unicodedata.normalize("NFKC", folded.casefold())
    return " ".join(folded.split())


def fold_text(text: Text) -> Text:
    """`fold` of a string, or of both sides of a pair; usable as a dictionary key.

    Example:
        >>> fold_text(("A", " b "))
        ('a', 'b')
    """
    return fold(text) if isinstance(text, str) else tuple(map(fold, text))


def well_formed(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold (JSON escapes can), replaced by U+FFFD.

    Example:
        >>> well_formed("a\\ud800b") == "a\\ufffdb"
        True
    """
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
