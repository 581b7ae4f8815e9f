"""tokenizer.json, the file of Hugging Face's fast tokenizers: what of it can be reproduced exactly, and nothing else."""

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tftransformer.checkpoints.folders import read_optional_json
from tftransformer.errors import TransformerError
from tftransformer.text.byte_bpe_files import (
    check_merges,
    check_vocabulary,
    merges_bytes,
    parse_merges,
    vocabulary_json_bytes,
)
from tftransformer.text.sentencepiece_model import PieceType, UnigramModel, check_model, model_bytes, parse_charsmap
from tftransformer.text.spec import TokenizerSpec
from tftransformer.text.vocabulary import vocabulary_bytes

SPACE_SIGN = "\u2581"
_QUOTES = ("``", "''")
# The ways to split of `text.byte_words` that are written as an expression.
_LLAMA = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
EXPRESSIONS = {"cl100k": _LLAMA % "{1,3}", "cl100k_digits": _LLAMA % ""}


class Added(NamedTuple):
    """A token that was put beside the vocabulary."""

    id: int
    token: str
    special: bool


def added_tokens(folder: Path, stated: Mapping[str, Any], backend: Mapping[str, Any]) -> list[Added]:
    """The added tokens that a folder's files name, by id."""
    rows: list[tuple[Any, Any, Any]] = []
    for row in _rows(backend.get("added_tokens"), list):
        if isinstance(row, dict):
            rows.append((row.get("id"), row.get("content"), row.get("special", False)))
    for key, row in _rows(stated.get("added_tokens_decoder"), dict):
        if isinstance(row, dict):
            number = int(key) if key.isascii() and key.isdigit() else key
            rows.append((number, row.get("content"), row.get("special", False)))
    extra = read_optional_json(folder / "special_tokens_map.json").get("additional_special_tokens")
    names = {row.get("content") if isinstance(row, dict) else row for row in _rows(extra, list)}
    rows += [
        (number, token, token in names) for token, number in read_optional_json(folder / "added_tokens.json").items()
    ]
    found: dict[str, Added] = {}
    for number, token, special in rows:
        if isinstance(number, bool) or not isinstance(number, int) or number < 0 or not isinstance(token, str):
            raise TransformerError(f"{folder}: an added token must have an id and a text; got {number!r}, {token!r}")
        found.setdefault(token, Added(number, token, special is True))
    return sorted(found.values())


def with_added(
    vocabulary: tuple[str, ...], added: Iterable[Added], roles: Mapping[str, str], kind: str, where: Any
) -> tuple[str, ...]:
    """The vocabulary with the added tokens at its end."""
    ids = {token: i for i, token in enumerate(vocabulary)}
    tokens = list(vocabulary)
    for number, token, special in added:
        # SentencePiece's user-defined pieces are listed as added; they are pieces like any other.
        harmless = special or token in roles.values() or (kind == "sentencepiece" and token in ids)
        if not harmless:
            raise TransformerError(f"{where}: the added token {token!r} is no special token, and would cut texts")
        if ids.setdefault(token, len(tokens)) != number:
            raise TransformerError(
                f"{where}: the ids of tokens must have no gap and no double; {token!r} is {number}, not {ids[token]}"
            )
        if number == len(tokens):
            tokens.append(token)
    return tuple(tokens)


def pair_separators(backend: Mapping[str, Any], separator: str, default: int) -> int:
    """Return the number of separators that tokenizer.json puts between the texts of a pair."""
    processor = backend.get("post_processor")
    processor = processor if isinstance(processor, dict) else {}
    if processor.get("type") == "RobertaProcessing":
        return 2
    if processor.get("type") != "TemplateProcessing" or not isinstance(processor.get("pair"), list):
        return default
    steps = [next(iter(step.items()), ("", {})) for step in processor["pair"] if isinstance(step, dict)]
    kinds = [(kind, body.get("id") if isinstance(body, dict) else None) for kind, body in steps]
    if ("Sequence", "A") not in kinds or ("Sequence", "B") not in kinds:
        return default
    between = kinds[kinds.index(("Sequence", "A")) + 1 : kinds.index(("Sequence", "B"))]
    if any(step != ("SpecialToken", separator) for step in between) or len(between) not in (1, 2):
        raise TransformerError(
            f"post_processor must put one or two {separator!r} between two texts; got {between!r:.80}"
        )
    return len(between)


def read_backend(
    backend: Mapping[str, Any],
    kind: str,
    special: Mapping[str, str],
    separators: int,
    added: Sequence[Added],
    where: Path,
) -> TokenizerSpec:
    """The tokenizer that a tokenizer.json describes."""
    readers = {"wordpiece": _wordpiece, "byte_bpe": _byte_bpe, "character_bpe": _byte_bpe, "sentencepiece": _unigram}
    model = backend.get("model")
    wanted = {"wordpiece": "WordPiece", "sentencepiece": "Unigram"}.get(kind, "BPE")
    if not isinstance(model, dict) or model.get("type", wanted) != wanted:
        raise TransformerError(f"{where}: model must be {wanted}; got {_name(model)}")
    return readers[kind](backend, model, dict(special), separators, added, where)


def _wordpiece(
    backend: Mapping[str, Any], model: Mapping, special: dict, _: int, added: Sequence[Added], where: Path
) -> TokenizerSpec:
    if (prefix := model.get("continuing_subword_prefix", "##")) != "##":
        raise TransformerError(f"{where}: continuing_subword_prefix must be '##'; got {prefix!r}")
    normalizer = backend.get("normalizer")
    if _name(normalizer) != "BertNormalizer" or normalizer.get("clean_text") is not True:
        raise _unknown(where, "normalizer", normalizer)
    if _name(backend.get("pre_tokenizer")) != "BertPreTokenizer":
        raise _unknown(where, "pre_tokenizer", backend.get("pre_tokenizer"))
    if isinstance(model.get("unk_token"), str):
        special["unknown_token"] = model["unk_token"]
    vocabulary = with_added(_ids(model, where), added, special, "wordpiece", where)
    settings = {
        **special,
        "lowercase": bool(normalizer.get("lowercase", True)),
        "strip_accents": normalizer.get("strip_accents"),
        "split_on_cjk": bool(normalizer.get("handle_chinese_chars", True)),
        "max_word_characters": model.get("max_input_chars_per_word", 100),
    }
    return TokenizerSpec("wordpiece", vocabulary, settings, {"vocab.txt": vocabulary_bytes(vocabulary)})


def _byte_bpe(
    backend: Mapping[str, Any], model: Mapping, special: dict, separators: int, added: Sequence[Added], where: Path
) -> TokenizerSpec:
    if model.get("byte_fallback"):
        return _character_bpe(backend, model, special, separators, added, where)
    unset = ("continuing_subword_prefix", "end_of_word_suffix", "dropout")
    for name in unset:
        if model.get(name):
            raise TransformerError(f"{where}: {name} must not be set; got {model[name]!r}")
    normalizer = backend.get("normalizer")
    if normalizer is not None and _name(normalizer) != "NFC":
        raise _unknown(where, "normalizer", normalizer)
    split, cutter = _split(backend.get("pre_tokenizer"), where)
    vocabulary = with_added(_ids(model, where), added, special, "byte_bpe", where)
    merges = [" ".join(m) if isinstance(m, list) else m for m in _rows(model.get("merges"), list)]
    check_merges(merges, vocabulary)
    processor = backend.get("post_processor")
    steps = [processor, *_rows(processor.get("processors"), list)] if isinstance(processor, dict) else []
    trim = next((step["trim_offsets"] for step in steps if isinstance(step, dict) and "trim_offsets" in step), True)
    settings = {
        **special,
        "add_prefix_space": bool(cutter.get("add_prefix_space", False)),
        "trim_offsets": bool(trim),
        "pair_separators": separators,
        **({} if split == "r50k" else {"split": split}),
        **({"ignore_merges": True} if model.get("ignore_merges") else {}),
        **({"nfc": True} if normalizer is not None else {}),
    }
    files = {"vocab.json": vocabulary_json_bytes(vocabulary), "merges.txt": merges_bytes(merges)}
    return TokenizerSpec("byte_bpe", vocabulary, settings, files)


def _character_bpe(
    backend: Mapping[str, Any], model: Mapping, special: dict, separators: int, added: Sequence[Added], where: Path
) -> TokenizerSpec:
    for name in ("continuing_subword_prefix", "end_of_word_suffix", "dropout", "ignore_merges"):
        if model.get(name):
            raise TransformerError(f"{where}: {name} must not be set; got {model[name]!r}")
    normalizer, cutter = backend.get("normalizer"), backend.get("pre_tokenizer")
    steps = list(_rows(normalizer.get("normalizers"), list)) if _name(normalizer) == "Sequence" else []
    if normalizer is not None:
        prepend = steps.pop(0).get("prepend") if steps and _name(steps[0]) == "Prepend" else None
        replaced = [_name(step) == "Replace" and _detail(step) for step in steps]
        if prepend not in (None, SPACE_SIGN) or replaced != [({"String": " "}, SPACE_SIGN)] or cutter is not None:
            raise _unknown(where, "normalizer", normalizer)
        switches = {"add_prefix_space": prepend is not None, "prefix_always": True}
    else:
        whole = (
            _name(cutter) == "Metaspace" and cutter.get("replacement") == SPACE_SIGN and cutter.get("split") is False
        )
        scheme = cutter.get("prepend_scheme", "always") if whole else None
        if scheme not in ("always", "first", "never"):
            raise _unknown(where, "pre_tokenizer", cutter)
        switches = {"add_prefix_space": scheme != "never", "prefix_always": False}
    if isinstance(model.get("unk_token"), str):
        special["unknown_token"] = model["unk_token"]
    vocabulary = with_added(_ids(model, where), added, special, "character_bpe", where)
    merges = [" ".join(m) if isinstance(m, list) else m for m in _rows(model.get("merges"), list)]
    check_merges(merges, vocabulary)
    files = {"vocab.json": vocabulary_json_bytes(vocabulary), "merges.txt": merges_bytes(merges)}
    return TokenizerSpec("character_bpe", vocabulary, {**special, **switches, "pair_separators": separators}, files)


def character_bpe_backend(spec: TokenizerSpec, added: Sequence[str]) -> dict[str, Any]:
    """The tokenizer.json of a BPE tokenizer over characters; arguments as for `byte_bpe_backend`."""
    prefix, always = (spec.settings.get(name, True) for name in ("add_prefix_space", "prefix_always"))
    blanks = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_SIGN}
    steps = [{"type": "Prepend", "prepend": SPACE_SIGN}] if prefix else []
    sign = {
        "type": "Metaspace",
        "replacement": SPACE_SIGN,
        "prepend_scheme": "first" if prefix else "never",
        "split": False,
    }
    decoder = [
        {"type": "Replace", "pattern": {"String": SPACE_SIGN}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        *([{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []),
    ]
    backend = byte_bpe_backend(spec, added)
    model = {**backend["model"], "unk_token": spec.settings["unknown_token"], "fuse_unk": True, "byte_fallback": True}
    return {
        **backend,
        "normalizer": {"type": "Sequence", "normalizers": [*steps, blanks]} if always else None,
        "pre_tokenizer": None if always else sign,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": decoder},
        "model": model,
    }


def _split(cutter: Any, where: Path) -> tuple[str, Mapping[str, Any]]:
    """The way to split texts into words, and the step that turns them into bytes."""
    steps = list(_rows(cutter.get("pretokenizers"), list)) if _name(cutter) == "Sequence" else [cutter]
    last = steps[-1] if steps else None
    if _name(last) == "ByteLevel":
        by_expression, first = last.get("use_regex", True) is True, steps[0]
        if len(steps) == 1 and by_expression:
            return "r50k", last
        if len(steps) == 2 and by_expression and _name(first) == "Digits" and first.get("individual_digits") is True:
            return "r50k_digits", last
        if len(steps) == 2 and not by_expression and _name(first) == "Split" and _isolates(first):
            expression = first["pattern"].get("Regex") if isinstance(first.get("pattern"), dict) else None
            for split, known in EXPRESSIONS.items():
                if expression == known:
                    return split, last
            raise TransformerError(
                f"{where}: the pre_tokenizer splits by an expression that is not known: {expression!r:.120}"
            )
    raise _unknown(where, "pre_tokenizer", cutter)


def _isolates(step: Mapping[str, Any]) -> bool:
    return step.get("behavior") == "Isolated" and step.get("invert", False) is False


def byte_bpe_backend(spec: TokenizerSpec, added: Sequence[str]) -> dict[str, Any]:
    """The tokenizer.json of a byte-level BPE tokenizer.

    Args:
        spec: The tokenizer.
        added: Its special tokens.
    """
    settings, split = spec.settings, spec.settings.get("split", "r50k")
    byte_level = {"type": "ByteLevel"}
    byte_level |= {
        "add_prefix_space": settings.get("add_prefix_space", False),
        "trim_offsets": settings.get("trim_offsets", True),
    }
    steps = [{**byte_level, "use_regex": split not in EXPRESSIONS}]
    if split == "r50k_digits":
        steps.insert(0, {"type": "Digits", "individual_digits": True})
    elif split in EXPRESSIONS:
        pattern = {"Regex": EXPRESSIONS[split]}
        steps.insert(0, {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False})
    ids = {token: number for number, token in enumerate(spec.vocabulary)}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    merges = parse_merges(spec.files["merges.txt"], "merges.txt")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": ids[token], "content": token, **flags} for token in sorted(set(added), key=ids.get)],
        "normalizer": {"type": "NFC"} if settings.get("nfc") else None,
        "pre_tokenizer": steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps},
        "post_processor": {**byte_level, "use_regex": True},
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": False, "byte_fallback": False, "ignore_merges": settings.get("ignore_merges", False), "vocab": ids,
            "merges": list(merges),
        },
    }  # fmt: skip


def _unigram(
    backend: Mapping[str, Any], model: Mapping, special: dict, separators: int, added: Sequence[Added], where: Path
) -> TokenizerSpec:
    if model.get("byte_fallback"):
        raise TransformerError(f"{where}: byte_fallback must be false; got {model['byte_fallback']!r}")
    rows = _rows(model.get("vocab"), list)
    for row in rows:
        ok = isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)
        if not ok or isinstance(row[1], bool) or not isinstance(row[1], (int, float)):
            raise TransformerError(f"{where}: vocab must hold pairs of token and score; got {row!r:.80}")
    unknown = model.get("unk_id")
    if isinstance(unknown, bool) or not isinstance(unknown, int) or not 0 <= unknown < len(rows):
        raise TransformerError(f"{where}: unk_id must be one of the {len(rows)} tokens; got {unknown!r}")
    special["unknown_token"] = rows[unknown][0]
    switches, charsmap = _unigram_normalizer(backend.get("normalizer"), where)
    tokens = check_vocabulary(tuple(row[0] for row in rows), str(where))
    pieces = with_added(tokens, added, special, "sentencepiece", where)
    control = {special[role] for role in special} | {token for _, token, is_special in added if is_special}
    types = [PieceType.CONTROL if piece in control else PieceType.NORMAL for piece in pieces]
    types[unknown] = PieceType.UNKNOWN
    scores = (*(float(row[1]) for row in rows), *[0.0] * (len(pieces) - len(rows)))
    built = check_model(UnigramModel(pieces, scores, tuple(types), charsmap), str(where))
    settings = {
        **special,
        **switches,
        "add_prefix_space": _prefix_space(backend.get("pre_tokenizer"), where),
        "pair_separators": separators,
    }
    return TokenizerSpec("sentencepiece", pieces, settings, {"spiece.model": model_bytes(built)})


def _unigram_normalizer(normalizer: Any, where: Path) -> tuple[dict[str, bool], bytes]:
    """The switches of our normalizer and the map, from a sequence of steps in the one order that is known."""
    steps = [] if normalizer is None else [normalizer]
    if _name(normalizer) == "Sequence":
        steps = list(_rows(normalizer.get("normalizers"), list))

    def take(*wanted: tuple[str, Any]) -> bool:
        if [(_name(step), _detail(step)) for step in steps[: len(wanted)]] != list(wanted):
            return False
        del steps[: len(wanted)]
        return True

    quotes = take(*(("Replace", ({"String": quote}, '"')) for quote in _QUOTES))
    accents = take(("NFKD", None), ("StripAccents", None))
    lowercase = take(("Lowercase", None))
    charsmap = b""
    if steps and _name(steps[0]) == "Precompiled":
        try:
            charsmap = base64.b64decode(steps.pop(0).get("precompiled_charsmap") or "", validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise TransformerError(f"{where}: precompiled_charsmap must be base64") from None
    parse_charsmap(charsmap, str(where))
    # These change the number of spaces alone, and words are cut at white space.
    take(("Strip", (False, True)))
    for content in (" ", SPACE_SIGN):
        take(("Replace", ({"Regex": " {2,}"}, content)))
    if steps:
        raise _unknown(where, "normalizer", steps[0])
    return {"lowercase": lowercase, "strip_accents": accents, "straighten_quotes": quotes}, charsmap


def _detail(step: Any) -> Any:
    if _name(step) == "Replace":
        return step.get("pattern"), step.get("content")
    return (step.get("strip_left"), step.get("strip_right")) if _name(step) == "Strip" else None


def _prefix_space(cutter: Any, where: Path) -> bool:
    parts = list(_rows(cutter.get("pretokenizers"), list)) if _name(cutter) == "Sequence" else [cutter]
    if _name(parts[0] if parts else None) == "WhitespaceSplit":
        parts = parts[1:]
    sign = parts[0] if len(parts) == 1 else None
    if _name(sign) != "Metaspace" or sign.get("replacement") != SPACE_SIGN or sign.get("split", True) is not True:
        raise _unknown(where, "pre_tokenizer", cutter)
    scheme = sign.get("prepend_scheme") or ("always" if sign.get("add_prefix_space", True) else "never")
    if scheme not in ("always", "never"):
        raise TransformerError(f"{where}: prepend_scheme must be 'always' or 'never'; got {scheme!r}")
    return scheme == "always"


def _ids(model: Mapping[str, Any], where: Path) -> tuple[str, ...]:
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, dict):
        raise TransformerError(f"{where}: vocab must map tokens to ids; got {type(vocabulary).__name__}")
    return check_vocabulary(vocabulary, str(where))


def _rows(value: Any, kind: type) -> Any:
    """The rows of a list, or the items of an object; none where it is something else."""
    if not isinstance(value, kind):
        return []
    return value if kind is list else value.items()


def _name(part: Any) -> str:
    return str(part.get("type")) if isinstance(part, dict) else repr(part)[:40]


def _unknown(where: Path, name: str, part: Any) -> TransformerError:
    return TransformerError(f"{where}: the {name} cannot be reproduced exactly; got {_name(part)}")
