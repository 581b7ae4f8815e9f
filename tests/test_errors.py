"""One-line errors and near misses."""

import pytest

from tftransformer.errors import TransformerError, check_choice, near_miss


def test_it_is_a_value_error():
    with pytest.raises(ValueError, match="^sequence_length must be at least 2; got 1$"):
        raise TransformerError("sequence_length must be at least 2; got 1")


def test_near_miss_names_what_is_close_nearest_first():
    assert near_miss("bert_bse", ["gpt", "bert_base"]) == "; did you mean 'bert_base'?"
    assert near_miss("coat", ["boat", "coats", "dog"]) == "; did you mean 'coats' or 'boat'?"


@pytest.mark.parametrize("known", [[], ["zzz"], [12, None]])
def test_near_miss_is_silent_where_nothing_is_close(known):
    assert near_miss("bert", known) == ""


def test_near_miss_takes_what_is_not_a_string():
    assert near_miss(12, [123]) == "; did you mean '123'?"


@pytest.mark.parametrize("value, tail", [("cosinee", "; did you mean 'cosine'?"), (None, ""), (12, "")])
def test_a_choice_is_suggested_for_a_name_alone(value, tail):
    with pytest.raises(TransformerError) as raised:
        check_choice("schedule", value, ["cosine", "none at all"])
    assert str(raised.value) == f"schedule must be one of cosine, none at all; got {value!r}{tail}"
