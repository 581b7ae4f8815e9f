"""Folding of texts: the form in which two texts count as the same one.

Unicode NFKC, then case folding, then every run of whitespace becomes one space. NFKC runs again
after case folding because folding can leave characters that compose anew (Unicode 3.13, D146).
"""

import unicodedata

# A string, or a pair of them.
Text = str | tuple[str, str]


def normalize_for_dedup(text: str) -> str:
    """The text as it is compared with others.

    Example:
        >>> normalize_for_dedup("  Ｆｕｌｌ  WIDTH\\nStraße ")
        'full width strasse'
    """
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", text)
    folded = unicodedata.normalize("NFKC", folded.casefold())
    return " ".join(folded.split())


def dedup_key(text: Text) -> Text:
    """`normalize_for_dedup` of a string, or of both sides of a pair; usable as a dictionary key.

    Example:
        >>> dedup_key(("A", " b "))
        ('a', 'b')
    """
    return normalize_for_dedup(text) if isinstance(text, str) else tuple(map(normalize_for_dedup, text))


def well_formed(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold (JSON escapes can), replaced by U+FFFD.

    Example:
        >>> well_formed("a\\ud800b") == "a\\ufffdb"
        True
    """
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
