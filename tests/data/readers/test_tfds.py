import pytest

from tftransformer.data.loading import load
from tftransformer.data.readers.tfds import read_tfds
from tftransformer.errors import TransformerError

tf = pytest.importorskip("tensorflow")
tfds = pytest.importorskip("tensorflow_datasets")


def store(folder, name, splits, features, config=None):
    data = {split: tf.data.Dataset.from_tensor_slices(columns) for split, columns in splits.items()}
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets=data,
        config=config,
        data_dir=folder,
        disable_shuffling=True,
    )


CLASSES = tfds.features.ClassLabel(names=["negative", "positive"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    rows = {"sentence": [f"text {i} é" for i in range(20)], "label": [0, 1] * 10, "idx": list(range(20))}
    hidden = {key: values[:4] for key, values in rows.items()} | {"label": [-1] * 4}
    features = {"sentence": tfds.features.Text(), "label": CLASSES, "idx": tf.int32}
    store(folder, "kept_sentences", {"train": rows, "validation": rows, "test": hidden}, features, "small")
    pairs = {"premise": ["a", "b"], "hypothesis": ["c", "d"], "label": [0, 1]}
    features = {"premise": tfds.features.Text(), "hypothesis": tfds.features.Text(), "label": CLASSES}
    store(folder, "kept_pairs", {"train": pairs, "dev": pairs, "test": pairs}, features)
    store(folder, "kept_alone", {"test": pairs}, features)
    return folder


def test_classes_become_names_and_unlabelled_splits_are_left_out(folder):
    splits = load("tfds:kept_sentences/small", data_dir=folder, test_fraction=0.2)
    assert splits.train.labels == ("negative", "positive")
    assert [len(split) for split in splits] == [16, 20, 4]
    assert splits.validation.texts[0] == "text 0 é" and splits.validation.targets[:2] == ["negative", "positive"]
    assert splits.validation.where(3) == "tfds:kept_sentences/small[validation]:4"


def test_pairs_and_other_split_names(folder, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    splits = load("tfds:kept_pairs", data_dir=folder)
    assert splits.train.texts == [("a", "c"), ("b", "d")] and len(splits.validation) == 2
    one = load("tfds:kept_pairs", data_dir=folder, text_columns="hypothesis")
    assert one.train.texts == ["c", "d"]


def read(name, folder, **options):
    options = {"text_columns": [], "label_column": [], "label_columns": []} | options
    return read_tfds(name, data_dir=folder, **options)


def test_errors_are_one_line(folder):
    for name, message in (
        ("kept_sentence", "tfds:kept_sentence is not a data set"),
        ("imdb_review", "did you mean 'imdb_reviews'"),
        ("kept_alone", "has no labelled split named train; it has test"),
        ("imdb_reviews/plain_text", "tfds:imdb_reviews/plain_text is not prepared in"),
        ("kept_sentences/large", "tfds:kept_sentences/large"),
    ):
        with pytest.raises(TransformerError) as error:
            read(name, folder)
        assert message in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(TransformerError, match="no column 'text', it has"):
        read("kept_pairs", folder, text_columns=["text"])


def test_pairs_of_a_text_and_its_summaries(tmp_path):
    from tftransformer.data import load_pairs

    rows = {"document": [f"text {i}" for i in range(6)], "summary": [[f"{i} a", f"{i} b"] for i in range(6)]}
    features = {"document": tfds.features.Text(), "summary": tfds.features.Sequence(tfds.features.Text())}
    store(tmp_path, "kept_summaries", {"train": rows, "test": rows}, features)
    splits = load_pairs("tfds:kept_summaries", None, None, validation_fraction=0, data_dir=tmp_path)
    assert splits.train.texts[:2] == [("text 0", "0 a"), ("text 0", "0 b")] and len(splits.train) == 12
    assert splits.test.all_references()[5] == ("5 a", "5 b")
