"""Integer shards: what is written comes back, and what is damaged is refused."""

import json
import shutil

import numpy as np
import pytest

from tftransformer import files
from tftransformer.data import plain_text, shard_writing
from tftransformer.data.npy_stream import NpyStream
from tftransformer.data.shards import open_shards
from tftransformer.data.word_starts import special_ids, word_starts
from tftransformer.errors import TransformerError
from tftransformer.text import WordPieceTokenizer
from tftransformer.text.spec import TokenizerSpec

LINES = ["Good movie. Not a bad plot!", "Slow story?", "", "It was fine.", "", *["The film is great.", ""] * 40]


@pytest.fixture(scope="module")
def tokenizers(tiny_vocabulary):
    fewer = [piece for piece in tiny_vocabulary if piece not in ("good", "movie", "great")]
    return WordPieceTokenizer(tiny_vocabulary), WordPieceTokenizer(fewer)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory, text, tokenizers):
    folder = tmp_path_factory.mktemp("written") / "shards"
    survey = shard_writing.survey_texts([text], 0.1)
    meta = shard_writing.write_shards(folder, [text], survey, *tokenizers)
    return folder, meta


@pytest.fixture
def shards(tmp_path, written):
    return shutil.copytree(written[0], tmp_path / "shards")


def sentences_of(tokens, offsets):
    return [tokens[a:b].tolist() for a, b in zip(offsets[:-1], offsets[1:], strict=True)]


def test_every_sentence_comes_back_in_one_of_the_parts(written, tokenizers):
    folder, meta = written
    shards = open_shards(folder)
    wanted = [s for line in LINES for s in plain_text.sentences(line)]
    for tokenizer, prefix in zip(tokenizers, ("", "teacher_"), strict=True):
        found = []
        for part in shards.parts.values():
            found += sentences_of(getattr(part, f"{prefix}tokens"), getattr(part, f"{prefix}sentences"))
        assert sorted(found) == sorted(tokenizer.encode(sentence) for sentence in wanted)
    assert shards.tokenizer == tokenizers[0].spec() and shards.teacher_tokenizer == tokenizers[1].spec()
    assert isinstance(shards.parts["train"].tokens, np.memmap)
    assert shards.parts["train"].tokens.dtype == "uint16"
    counts = [meta["parts"][part] for part in ("train", "heldout")]
    assert sum(count["documents"] for count in counts) == 42 and counts[1]["documents"] >= 1
    assert sum(count["words"] for count in counts) == sum(
        len(s.replace(".", " .").replace("!", " !").replace("?", " ?").split()) for s in wanted
    )


def test_documents_end_at_blank_lines_and_long_ones_are_divided(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("A. B.\nC.\nD.\n\nE.\n", encoding="utf-8")
    assert list(shard_writing.read_sections([path], 64)) == [["A.", "B.", "C.", "D."], ["E."]]
    assert list(shard_writing.read_sections([path, path], 2))[:3] == [["A.", "B.", "C."], ["D."], ["E."]]


def test_sentences_on_whose_words_the_tokenizers_disagree_are_left_out(tmp_path, text, tokenizers):
    class Odd(WordPieceTokenizer):
        def tokenize(self, texts):
            texts = [t.replace(b"Slow story", b"Slow") for t in texts]
            return super().tokenize(texts)

    odd = Odd(tokenizers[0].vocabulary)
    survey = shard_writing.survey_texts([text], 0.1)
    meta = shard_writing.write_shards(tmp_path / "s", [text], survey, tokenizers[0], odd)
    assert sum(part["left_out_sentences"] for part in meta["parts"].values()) == 1
    part = open_shards(tmp_path / "s").parts["train"]
    assert len(part.sentences) == len(part.teacher_sentences)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "meta.json").unlink(), "has no meta.json"),
        (lambda f: (f / "meta.json").write_text("{"), "damaged: meta.json does not say"),
        (lambda f: (f / "meta.json").write_text("[]"), "damaged: meta.json does not say"),
        (lambda f: change_meta(f, format=2), "have format 2; this version reads format 1"),
        (lambda f: change_meta(f, sha256=[]), "damaged: meta.json does not say"),
        (lambda f: change_meta(f, tokenizer={"kind": "wordpiece"}), "does not describe the tokenizer"),
        (lambda f: change_meta(f, teacher_tokenizer={"kind": 3}), "does not describe the teacher_tokenizer"),
        (lambda f: (f / "train" / "tokens.npy").unlink(), "train/tokens.npy is missing"),
        (lambda f: cut(f / "train" / "tokens.npy"), "train/tokens.npy is not what was written"),
        (lambda f: change_vocabulary(f), r"tokenizer must hold \d+ tokens; it holds \d+"),
        (lambda f: write_array(f, "train/tokens", lambda a: a + 1000), "tokens.npy must hold ids of .* it holds 1"),
        (lambda f: write_array(f, "train/tokens", lambda a: -a.astype("int64")), "must hold ids of .* holds -"),
        (lambda f: write_array(f, "train/tokens", lambda a: a * 0.5), "must hold one row of integers"),
        (lambda f: write_array(f, "heldout/sentences", lambda a: a[:-1]), "heldout/sentences.npy must rise from 0"),
        (lambda f: write_array(f, "train/documents", lambda a: a[[0, 2, 1, *range(3, len(a))]]), "must rise"),
        (lambda f: write_array(f, "train/teacher_sentences", lambda a: a[[0, -1]]), "not as many teacher_sentences"),
    ],
)  # fmt: skip
def test_damage_is_one_clear_line(shards, damage, message):
    damage(shards)
    with pytest.raises(TransformerError, match=message) as caught:
        open_shards(shards)
    assert "\n" not in str(caught.value)


def test_a_truncated_array_is_noticed_without_its_checksum(shards):
    cut(shards / "train" / "tokens.npy")
    with pytest.raises(TransformerError, match="is no .npy file"):
        open_shards(shards, verify=False)


def test_fingerprints_tell_shards_apart(shards):
    before = open_shards(shards).fingerprint
    assert open_shards(shards).fingerprint == before
    write_array(shards, "heldout/tokens", lambda a: a[::-1])
    assert open_shards(shards).fingerprint != before


@pytest.mark.parametrize(("lines", "message"), [("one\n", "got 1 in 1 files"), ("\n\n", "got 0 in 1 files")])
def test_too_little_text_is_an_error(tmp_path, lines, message):
    (tmp_path / "a.txt").write_text(lines)
    with pytest.raises(TransformerError, match=message):
        shard_writing.survey_texts([tmp_path / "a.txt"], 0.01)


def test_a_part_without_words_is_an_error_and_leaves_nothing(tmp_path, tokenizers):
    (tmp_path / "a.txt").write_text("good\n\n\x01\n")
    survey = shard_writing.Survey(2, 2, 1, threshold=0.0)
    with pytest.raises(TransformerError, match="must hold words in both parts; the part heldout has none"):
        shard_writing.write_shards(tmp_path / "s", [tmp_path / "a.txt"], survey, tokenizers[0])
    assert not (tmp_path / "s").exists()


def test_a_teacher_of_another_kind_is_an_error(tmp_path, text, tokenizers):
    class Other:
        kind = "byte_bpe"

    survey = shard_writing.survey_texts([text], 0.1)
    with pytest.raises(TransformerError, match="must be of the student's kind, wordpiece.*got byte_bpe"):
        shard_writing.write_shards(tmp_path / "s", [text], survey, tokenizers[0], Other())


def test_word_starts_are_told_by_each_kind_of_vocabulary():
    names = dict(
        unknown_token="<unk>", pad_token="<pad>", start_token="<s>", separator_token="</s>", mask_token="<mask>"
    )
    vocabulary = (*names.values(), "Ġthe", "ing", "▁the")
    bpe = TokenizerSpec("byte_bpe", vocabulary, names, {})
    assert word_starts(bpe).tolist() == [True] * 5 + [True, False, False]
    assert word_starts(TokenizerSpec("sentencepiece", vocabulary, names, {})).tolist()[5:] == [False, False, True]
    assert special_ids(bpe) == (0, 1, 2, 3, 4)
    with pytest.raises(TransformerError, match="must be one of wordpiece, .*; got 'letters'"):
        word_starts(TokenizerSpec("letters", vocabulary, names, {}))
    with pytest.raises(TransformerError, match="special tokens; <mask> missing"):
        special_ids(TokenizerSpec("byte_bpe", vocabulary[:4], names, {}))
    with pytest.raises(TransformerError, match="settings must name unknown_token"):
        special_ids(TokenizerSpec("byte_bpe", vocabulary, {}, {}))


def test_a_stream_of_nothing_is_an_empty_array(tmp_path):
    with NpyStream(tmp_path / "a.npy", "uint32"):
        pass
    assert np.load(tmp_path / "a.npy").tolist() == []


@pytest.mark.slow
def test_memory_does_not_grow_with_the_texts(tmp_path):
    import subprocess
    import sys

    code = """
import resource, sys
from pathlib import Path
from tftransformer.runs.pretraining import prepare_shards
from tftransformer.runs.pretraining_options import TextOptions
folder, paragraphs, vocabulary = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
path = folder / f"{paragraphs}.txt"
with path.open("w") as file:
    for i in range(paragraphs):
        file.write("good bad film story plot acting music slow quick dull. " * 6 + "\\n" + "\\n" * (i % 5 == 0))
prepare_shards(TextOptions((str(path),), str(folder / f"shards{paragraphs}"), vocabulary=vocabulary))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
    vocabulary = tmp_path / "vocab.txt"
    words = "good bad film story plot acting music slow quick dull .".split()
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]) + "\n")

    def peak(paragraphs):
        arguments = [sys.executable, "-c", code, str(tmp_path), str(paragraphs), str(vocabulary)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        return int(done.stdout.split()[-1])

    # 1 MB of text, and 34 MB of it: 6.6 million tokens.
    assert peak(100_000) - peak(3_000) < 60


def change_meta(folder, **entries):
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | entries))


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def write_array(folder, name, change):
    """Change an array and its checksum with it, so that only its contents can tell."""
    path = folder / f"{name}.npy"
    np.save(path, change(np.load(path)))
    meta = json.loads((folder / "meta.json").read_text())
    change_meta(folder, sha256=meta["sha256"] | {f"{name}.npy": files.sha256(path)})


def change_vocabulary(folder):
    path = folder / "tokenizer" / "vocab.txt"
    path.write_text(path.read_text() + "more\n")
