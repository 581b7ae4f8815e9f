"""The tokenizer of a Hugging Face folder, from whichever files it holds."""

import base64
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tftransformer import files
from tftransformer.checkpoints.folders import read_json, read_optional_json
from tftransformer.checkpoints.huggingface.tokenizer_json import (
    SPACE_SIGN,
    Added,
    added_tokens,
    byte_bpe_backend,
    character_bpe_backend,
    pair_separators,
    read_backend,
    with_added,
)
from tftransformer.errors import TransformerError, check_choice
from tftransformer.models.families import FAMILIES, families_of, family_of_tokenizer
from tftransformer.models.families.family import TokenizerFacts
from tftransformer.text.base import Tokenizer
from tftransformer.text.byte_bpe_files import check_merges, parse_merges, vocabulary_json_bytes
from tftransformer.text.sentencepiece_model import (
    PieceType,
    UnigramModel,
    from_fairseq,
    model_bytes,
    parse_charsmap,
    parse_model,
    to_fairseq,
)
from tftransformer.text.spec import TokenizerSpec, read_spec
from tftransformer.text.vocabulary import vocabulary_bytes

ROLES = {
    "unk_token": "unknown_token",
    "pad_token": "pad_token",
    "cls_token": "start_token",
    "sep_token": "separator_token",
    "mask_token": "mask_token",
}
# Of what decoders learned from, every text has a beginning and an end.
_ENDS = {"bos_token": "start_token", "eos_token": "separator_token"}
_FAIRSEQ_FILE = "sentencepiece.bpe.model"
_FILES = {
    "wordpiece": (("vocab.txt",),),
    "byte_bpe": (("vocab.json", "merges.txt"),),
    "character_bpe": (("tokenizer.json",),),
    "sentencepiece": (("spiece.model",), (_FAIRSEQ_FILE,)),
}


def read_tokenizer(folder: Path, family: str) -> TokenizerSpec:
    """The tokenizer of a folder, with the ids of transformers' own.

    Of a SentencePiece tokenizer, tokenizer.json is read first, as transformers does: its scores may differ from those
    of the model file beside it. Of the others, vocab.txt or vocab.json and merges.txt. A folder may hold another kind
    than its family's usual one (BERTs with XLM-RoBERTa's vocabulary exist).

    Example:
        >>> read_tokenizer(Path("checkpoint"), "bert").kind
        'wordpiece'
    """
    known = families_of("huggingface")
    check_choice("family", family, known)
    folder = Path(folder)
    facts = known[family].tokenizer
    separators = facts.pair_separators
    stated = read_optional_json(folder / "tokenizer_config.json")
    where = folder / "tokenizer.json"
    backend = read_json(where) if where.exists() else None
    if known[family].architecture != "decoder":
        named = _special_tokens(folder, stated, ROLES)
        special = facts.roles | named
    else:
        named = _special_tokens(folder, stated, ROLES | _ENDS)
        end = named.get("separator_token", facts.roles["separator_token"])
        special = dict.fromkeys(facts.roles, end) | named  # as authors of decoders do where a role has no token
    added = added_tokens(folder, stated, backend or {})
    decoder = known[family].architecture == "decoder"
    if decoder:
        # Of those that are no special tokens (Qwen2.5's marks of tools) a text is free, too.
        added = [token._replace(special=True) for token in added]
        # An instruction-tuned model's end is that of a turn; what begins a text still is what parts documents.
        usual = known[family].tokenizer.roles["start_token"]
        if "start_token" not in named and any(token.token == usual for token in added):
            special["start_token"] = usual
    kind = _kind(folder, facts.kind, backend)
    # vocab.json and merges.txt do not say how a decoder's texts are split into words.
    if kind == "sentencepiece" and facts.split is None and backend is None:
        raise TransformerError(f"{folder} must hold tokenizer.json, which says how texts are normalised")
    decides = kind in ("sentencepiece", "character_bpe") or (kind == "byte_bpe" and facts.split != "r50k")
    if backend is not None and (decides or kind not in _present(folder)):
        if not decoder:  # which has no pairs of texts
            separators = pair_separators(backend, special["separator_token"], separators)
        if kind == "sentencepiece" != facts.kind and backend.get("post_processor") is None:
            separators = 2  # as in XLM-RoBERTa, whose vocabulary other families borrow
        spec = read_backend(backend, kind, special, separators, added, where)
        if facts.add_start_token:
            return spec
        return dataclasses.replace(spec, settings={**spec.settings, "add_start_token": False})
    if kind == "wordpiece":
        return _read_wordpiece(folder, stated, backend or {}, special, added)
    if kind == "byte_bpe":
        if facts.split is None:
            raise TransformerError(
                f"{folder} must hold tokenizer.json: vocab.json and merges.txt do not say how its texts are split into words"
            )
        own = facts if kind == facts.kind else family_of_tokenizer(kind).tokenizer
        return _read_byte_bpe(folder, stated, special, added, own)
    return _read_sentencepiece(folder, stated, special, added)


def _present(folder: Path) -> list[str]:
    """The kinds whose files are all there."""
    return [
        kind
        for kind, choices in _FILES.items()
        if any(all((folder / name).is_file() for name in names) for names in choices)
    ]


def _kind(folder: Path, usual: str, backend: Mapping[str, Any] | None) -> str:
    present = _present(folder)
    if usual in present:
        return usual
    if backend is not None:
        model = backend.get("model")
        model = model if isinstance(model, dict) else {}
        kinds = {"WordPiece": "wordpiece", "BPE": "byte_bpe", "Unigram": "sentencepiece"}
        stated = model.get("type") or ("WordPiece" if "max_input_chars_per_word" in model else None)
        check_choice(f"{folder / 'tokenizer.json'}: model", stated, kinds)
        return kinds[stated]
    if present:
        return present[0]
    wanted = " and ".join(_FILES[usual][0])
    lacking = "no tokenizer.json" if wanted == "tokenizer.json" else f"neither {wanted} nor tokenizer.json"
    raise TransformerError(f"{folder} has no tokenizer: {lacking}")


def _special_tokens(folder: Path, stated: Mapping[str, Any], roles: Mapping[str, str]) -> dict[str, str]:
    """Our names of the special tokens that tokenizer_config.json or special_tokens_map.json states."""
    found = {}
    for source in (read_optional_json(folder / "special_tokens_map.json"), stated):
        for theirs, ours in roles.items():
            token = source.get(theirs)
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str):
                found[ours] = token
    return found


def _switch(folder: Path, stated: Mapping[str, Any], name: str, default: bool) -> bool:
    value = stated.get(name, default)
    if not isinstance(value, bool):
        raise TransformerError(f"{folder / 'tokenizer_config.json'}: {name} must be true or false; got {value!r}")
    return value


def _read_wordpiece(
    folder: Path, stated: Mapping[str, Any], backend: Mapping[str, Any], special: dict[str, str], added: list[Added]
) -> TokenizerSpec:
    """vocab.txt; the rules are tokenizer_config.json's, and tokenizer.json's where that leaves one open."""
    normalizer = backend.get("normalizer")
    if not isinstance(normalizer, dict) or normalizer.get("type") != "BertNormalizer":
        normalizer = {}
    accents = stated.get("strip_accents", normalizer.get("strip_accents"))
    if accents is not None and not isinstance(accents, bool):
        where = folder / "tokenizer_config.json"
        raise TransformerError(f"{where}: strip_accents must be true, false or null; got {accents!r}")
    settings = {
        **special,
        "lowercase": _switch(folder, stated, "do_lower_case", bool(normalizer.get("lowercase", True))),
        "strip_accents": accents,
        "split_on_cjk": _switch(
            folder, stated, "tokenize_chinese_chars", bool(normalizer.get("handle_chinese_chars", True))
        ),
    }
    spec = read_spec(folder, "wordpiece", settings)
    vocabulary = with_added(spec.vocabulary, added, special, "wordpiece", folder)
    if vocabulary == spec.vocabulary:
        return spec
    return TokenizerSpec("wordpiece", vocabulary, settings, {"vocab.txt": vocabulary_bytes(vocabulary)})


def _read_byte_bpe(
    folder: Path, stated: Mapping[str, Any], special: dict[str, str], added: list[Added], facts: TokenizerFacts
) -> TokenizerSpec:
    settings = {
        **special,
        **({} if facts.split == "r50k" else {"split": facts.split, "nfc": facts.nfc}),
        **{ours: _switch(folder, stated, theirs, on) for theirs, (ours, on) in _SETTINGS["byte_bpe"].items()},
        "pair_separators": facts.pair_separators,
    }
    spec = read_spec(folder, "byte_bpe", settings)
    vocabulary = with_added(spec.vocabulary, added, special, "byte_bpe", folder)
    check_merges(parse_merges(spec.files["merges.txt"], str(folder / "merges.txt")), vocabulary)
    files = {"vocab.json": vocabulary_json_bytes(vocabulary), "merges.txt": spec.files["merges.txt"]}
    return TokenizerSpec("byte_bpe", vocabulary, settings, files)


def _read_sentencepiece(
    folder: Path, stated: Mapping[str, Any], special: dict[str, str], added: list[Added]
) -> TokenizerSpec:
    fairseq = not (folder / "spiece.model").is_file()
    path = folder / (_FAIRSEQ_FILE if fairseq else "spiece.model")
    data = path.read_bytes()
    model = parse_model(data, str(path))
    parse_charsmap(model.charsmap, str(path))
    if fairseq:
        special = family_of_tokenizer("sentencepiece", fairseq_ids=True).tokenizer.roles
        special = special | _special_tokens(folder, stated, ROLES)
        model = to_fairseq(model, special, str(path))
    settings = {
        **special,
        "lowercase": not fairseq and _switch(folder, stated, "do_lower_case", True),
        "strip_accents": not fairseq and not _switch(folder, stated, "keep_accents", False),
        "straighten_quotes": not fairseq,
        "add_prefix_space": _switch(folder, stated, "add_prefix_space", True),
        "pair_separators": 2 if fairseq else 1,
    }
    pieces = with_added(model.pieces, added, special, "sentencepiece", folder)
    more = len(pieces) - len(model.pieces)
    model = UnigramModel(
        pieces, (*model.scores, *[0.0] * more), (*model.types, *[PieceType.CONTROL] * more), model.charsmap
    )
    return TokenizerSpec("sentencepiece", pieces, settings, {"spiece.model": model_bytes(model)})


# Their names of settings, with ours and the default.
_SETTINGS: dict[str, dict[str, tuple[str, bool | None]]] = {
    "wordpiece": {
        "do_lower_case": ("lowercase", True),
        "strip_accents": ("strip_accents", None),
        "tokenize_chinese_chars": ("split_on_cjk", True),
    },
    "byte_bpe": {"add_prefix_space": ("add_prefix_space", False), "trim_offsets": ("trim_offsets", True)},
}


def write_tokenizer(folder: Path, tokenizer: Tokenizer, family: str) -> None:
    """Write a tokenizer into a folder, such that transformers' AutoTokenizer gives the same ids.

    Their BertTokenizer reads words of up to 100 characters, whatever `max_word_characters` is.

    Example:
        >>> write_tokenizer(Path("checkpoint"), tokenizer, "bert")
    """
    spec = tokenizer.spec()
    # The defaults of our tokenizers; SentencePiece's are XLM-RoBERTa's.
    written = FAMILIES[family]
    defaults = family_of_tokenizer(spec.kind, fairseq_ids=spec.kind == "sentencepiece").tokenizer.roles
    special = {theirs: spec.settings.get(ours, defaults[ours]) for theirs, ours in (ROLES | _ENDS).items()}
    if written.architecture == "decoder":
        special = {name: token for name, token in special.items() if name in _ENDS or token != special["eos_token"]}
    elif spec.kind == "wordpiece":
        special = {name: special[name] for name in ROLES}
    own = written.tokenizer is not None and written.tokenizer.kind == spec.kind
    if spec.kind == "sentencepiece":
        config = _write_sentencepiece(Path(folder), spec, special)
    elif spec.kind == "character_bpe":
        files.write_json(Path(folder) / "tokenizer.json", character_bpe_backend(spec, list(special.values())))
        config = {"tokenizer_class": "PreTrainedTokenizerFast"}
    elif spec.kind == "byte_bpe" and (
        spec.settings.get("split", "r50k") != "r50k" or written.tokenizer.split != "r50k"
    ):
        files.write_json(Path(folder) / "tokenizer.json", byte_bpe_backend(spec, list(special.values())))
        config = {"tokenizer_class": "PreTrainedTokenizerFast"}
    else:
        for name, data in spec.files.items():
            files.write_bytes(Path(folder) / name, data)
        stated = _SETTINGS[spec.kind].items()
        config = {theirs: spec.settings.get(ours, default) for theirs, (ours, default) in stated}
        config["tokenizer_class"] = f"{written.huggingface.classes}Tokenizer" if own else _class_of(spec.kind)
    # Stated for every family: their ALBERT tokenizer leaves segments out unless it is told, their BERT's never does.
    segments = ["token_type_ids"] if written.defaults["num_segments"] > 1 else []
    config["model_input_names"] = ["input_ids", *segments, "attention_mask"]
    files.write_json(Path(folder) / "tokenizer_config.json", {**config, **special})
    files.write_json(Path(folder) / "special_tokens_map.json", special)


def _class_of(kind: str, fairseq_ids: bool = False) -> str:
    """Their class for a kind of tokenizer."""
    return f"{family_of_tokenizer(kind, fairseq_ids).huggingface.classes}Tokenizer"


def _write_sentencepiece(folder: Path, spec: TokenizerSpec, special: dict[str, str]) -> dict[str, Any]:
    """The model file, for whoever has the SentencePiece library, and tokenizer.json, which transformers reads first."""
    model = parse_model(spec.files["spiece.model"])
    settings = spec.settings
    lowercase, accents, quotes = (settings.get(n, False) for n in ("lowercase", "strip_accents", "straighten_quotes"))
    separators = settings.get("pair_separators", 2)
    unknown = model.types.index(PieceType.UNKNOWN)
    files.write_json(folder / "tokenizer.json", _tokenizer_json(model, spec, special))
    config: dict[str, Any] = {"add_prefix_space": settings.get("add_prefix_space", True)}
    if quotes and separators == 1 and unknown == 1:
        files.write_bytes(folder / "spiece.model", spec.files["spiece.model"])
        return {
            **config,
            "tokenizer_class": _class_of("sentencepiece"),
            "do_lower_case": lowercase,
            "keep_accents": not accents,
        }
    original = from_fairseq(model)
    if not (lowercase or accents or quotes) and separators == 2 and unknown == 3 and original is not None:
        files.write_bytes(folder / _FAIRSEQ_FILE, model_bytes(original))
        return {**config, "tokenizer_class": _class_of("sentencepiece", fairseq_ids=True)}
    files.write_bytes(folder / "spiece.model", spec.files["spiece.model"])
    return {"tokenizer_class": "PreTrainedTokenizerFast"}


def _tokenizer_json(model: UnigramModel, spec: TokenizerSpec, special: dict[str, str]) -> dict[str, Any]:
    settings = spec.settings
    steps: list[dict[str, Any]] = []
    if settings.get("straighten_quotes", False):
        steps += [{"type": "Replace", "pattern": {"String": quote}, "content": '"'} for quote in ("``", "''")]
    if settings.get("strip_accents", False):
        steps += [{"type": "NFKD"}, {"type": "StripAccents"}]
    if settings.get("lowercase", False):
        steps.append({"type": "Lowercase"})
    if model.charsmap:
        charsmap = base64.b64encode(model.charsmap).decode("ascii")
        steps.append({"type": "Precompiled", "precompiled_charsmap": charsmap})
    scheme = "always" if settings.get("add_prefix_space", True) else "never"
    sign = {"type": "Metaspace", "replacement": SPACE_SIGN, "prepend_scheme": scheme, "split": True}
    ids = {piece: i for i, piece in enumerate(model.pieces)}
    names = [p for p, kind in zip(model.pieces, model.types, strict=True) if kind in _SPECIAL_TYPES]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    rows = [{"id": ids[name], "content": name, **plain} for name in names]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": rows,
        "normalizer": {"type": "Sequence", "normalizers": steps} if steps else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, sign]},
        "post_processor": _template(
            special, ids, settings.get("pair_separators", 2), settings.get("add_start_token", True)
        ),
        "decoder": sign,
        "model": {
            "type": "Unigram",
            "unk_id": model.types.index(PieceType.UNKNOWN),
            "vocab": [[piece, score] for piece, score in zip(model.pieces, model.scores, strict=True)],
            "byte_fallback": False,
        },
    }


_SPECIAL_TYPES = (PieceType.UNKNOWN, PieceType.CONTROL)


def _template(special: dict[str, str], ids: dict[str, int], separators: int, starts: bool) -> dict[str, Any]:
    start, end = special["cls_token"], special["sep_token"]
    second = int(separators == 1)

    def token(name: str, segment: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": segment}}

    def text(name: str, segment: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": segment}}

    single = [*([token(start, 0)] if starts else []), text("A", 0), token(end, 0)]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, *[token(end, 0)] * (separators - 1), text("B", second), token(end, second)],
        "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in {start, end}},
    }
