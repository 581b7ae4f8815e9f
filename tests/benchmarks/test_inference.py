"""The inference benchmark: all runtimes see the same tokens."""

import sys

import numpy as np
import pytest


@pytest.mark.live
def test_texts_are_trimmed_to_the_length_by_the_peers_tokenizer(two_block_preset, tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    from pathlib import Path

    import tftransformer as tt

    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks" / "workers")
    monkeypatch.delitem(sys.modules, "runtimes", raising=False)
    import runtimes

    classifier = tt.TextClassifier.from_preset(two_block_preset, labels=("a", "b"), pooling="cls", pooler=True)
    classifier.save_to_preset(tmp_path / "folder", format="huggingface")
    texts = ["good " * 30, "bad film", "the plot was slow " * 5]
    theirs = runtimes.tokenizer({"folder": str(tmp_path / "folder"), "length": 12}, "np")(texts)
    ours = classifier.preprocess(texts).lengths
    assert theirs["input_ids"].shape == (3, 12)
    np.testing.assert_array_equal(theirs["attention_mask"].sum(axis=1), np.minimum(ours, 12))
