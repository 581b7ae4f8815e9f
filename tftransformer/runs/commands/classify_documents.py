"""Classify documents longer than the encoder: chunks to vectors, attention over chunks, one label a document.

    python -m tftransformer classify_documents --dataset=sample --sequence_length=16 --against_truncation

cuts each text of the embedded sample into chunks of 16 tokens (the sample's texts are short; your own take 128 or more),
fine-tunes, shows the weights of the chunks of three documents, and ends with precision, recall and F1 by class and with
the accuracy of a classifier that reads the first 16 tokens alone. The two runs are left in `runs/sample-1` and
`runs/sample-2`, with report, metrics, plots, model/ and saved_model/1/.

    python -m tftransformer classify_documents --dataset=reports.csv --preset=bert_base_en_uncased --sequence_length=256 \\
        --max_chunks=8 --overlap=32

In your own code:

    classifier = tt.DocumentClassifier.from_preset(preset, labels=train.labels, sequence_length=256, max_chunks=8)
    classifier.fit(train, epochs=3)
    for text, weight in classifier.chunk_weights([document])[0]:
        print(f"{weight:.2f}", text)
"""

from tftransformer.runs.flags import OptionFlags
from tftransformer.runs.options import DocumentOptions

RUN = OptionFlags(
    DocumentOptions,
    without=("init_from", "add_labels"),
    sequence_length="Longest chunk in tokens; default: the encoder's limit.",
    pooling="From tokens to a chunk's vector; default: the preset's.",
    text_columns="The column of the text; by name, or by number from 1.",
)
FLAGS = (RUN,)


def run(options: DocumentOptions) -> None:
    """Train, and report."""
    from tftransformer.runs import documents

    documents.train(options)
