import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tftransformer.checkpoints.rules import MERGE_FIRST, MERGE_LAST, OWN, SAME, TRANSPOSE, to_source
from tftransformer.models.families import FAMILIES
from tftransformer.models.families.names.tables import Rule
from tftransformer.models.shapes import encoder_shapes

BERT = FAMILIES["bert"].huggingface.table
SIZE = st.integers(1, 4)


@given(st.sampled_from([SAME, TRANSPOSE, MERGE_LAST, MERGE_FIRST]), SIZE, SIZE, SIZE)
def test_transforms_invert_and_state_their_shape(transform, heads, width, dim):
    shape = {"merge the last two axes": (dim, heads, width), "merge the first two axes": (heads, width, dim)}
    array = np.arange(heads * width * dim).reshape(shape.get(transform.name, (heads * width, dim)))
    ours = transform.forward(array)
    assert ours.shape == transform.shape(array.shape)
    np.testing.assert_array_equal(transform.backward(ours, heads), array)


@pytest.mark.parametrize("table", [BERT, FAMILIES["bert"].keras_hub.table, OWN], ids=lambda table: table.name)
def test_every_address_has_its_own_name(table, config):
    addresses = [*encoder_shapes(config), "pooler/dense/kernel", "pooler/dense/bias"]
    names = [name for address in addresses for name in table.names(address)]
    assert all(table.names(address) for address in addresses)
    assert len(names) == len(set(names))


def test_older_spellings_and_prefixes():
    assert BERT.names("encoder_block_11/attention_norm/gamma") == (
        "encoder.layer.11.attention.output.LayerNorm.weight",
        "bert.encoder.layer.11.attention.output.LayerNorm.weight",
        "encoder.layer.11.attention.output.LayerNorm.gamma",
        "bert.encoder.layer.11.attention.output.LayerNorm.gamma",
    )
    assert BERT.names("encoder_block_x/attention_norm/gamma") == ()


def test_writing_back_uses_the_usual_name():
    kernel = np.arange(6).reshape(2, 3)
    name, value = to_source(BERT, "pooler/dense/kernel", kernel, 1, prefix="bert.")
    assert name == "bert.pooler.dense.weight"
    np.testing.assert_array_equal(value, kernel.T)
    with pytest.raises(KeyError):
        to_source(BERT, "adapter/kernel", kernel, 1)


def test_ignored_tensors_have_reasons():
    assert "not weights" in BERT.reason_to_ignore("bert.embeddings.position_ids")
    assert "pretraining" in BERT.reason_to_ignore("cls.predictions.bias")
    assert BERT.reason_to_ignore("encoder.layer.0.output.dense.weight") is None


def test_without_turns_rules_into_ignored_tensors():
    table = BERT.without("head/.*", "another task")
    assert table.names("head/logits/kernel") == ()
    assert table.reason_to_ignore("classifier.weight") == "another task"
    assert dataclasses.replace(BERT).names("head/logits/kernel")


def test_placeholders():
    assert Rule("a_{i}/{path}", ("{path}.{i}",)).names_of("a_12/b/c") == ("b/c.12",)
    assert Rule("a_{i}", ("x.{i}",)).names_of("ba_12") is None
