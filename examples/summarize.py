"""Train a Transformer to summarize, score it beside the beginnings of the texts, save and export it.

    python examples/summarize.py --dataset=scitldr/ --source_column=source --target_column=target --minutes=30

reads texts and their summaries (CSV, TSV, JSONL or Parquet files, or tfds:NAME; a text may be a list of sentences, and have
a list of several summaries), learns one vocabulary of sub-words, trains a small encoder-decoder from nothing, and ends with
ROUGE of a beam search beside the first sentences of each text and the best one. A pretrained model in place of nothing, or a
finished run:

    python examples/summarize.py --dataset=articles.jsonl --preset=models/summarizer --epochs=3 --sequence_length=512
    python examples/summarize.py --dataset=articles.jsonl --init_from=runs/scitldr-1 --epochs=5
    python examples/summarize.py --mode=summarize --model=runs/scitldr-1 --texts=new.txt --output=summaries.txt

A run that was interrupted goes on behind its last epoch when it is started again with the same flags and --output_dir.
Its saved_model/1/ takes strings and answers strings.
"""

from tftransformer.runs.commands import run_program, summarize

if __name__ == "__main__":
    # A flag for each field of ModeOptions and SummarizationOptions.
    run_program(summarize)
