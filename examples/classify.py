"""Fine-tune, evaluate, save and export a text classifier.

    python examples/classify.py --freeze_layers=8

fine-tunes the embedded encoder on the embedded sample (patients' own words, six hospital departments) and
ends with precision, recall and F1 by class beside those of word counting. Everything is left in `runs/sample-1`.
The frozen blocks run once, not in every epoch (`--activation_cache=off` lets them).
With your own texts (CSV, TSV or JSONL; a file, or a folder with train, validation and test):

    python examples/classify.py --dataset=tickets.csv --preset=bert_base_en_uncased --sequence_length=128
    python examples/classify.py --mode=predict --model=runs/tickets-1 --text="no refund after three weeks"
    python examples/classify.py --mode=predict --model=runs/tickets-1 --texts=new.csv --output=answers.csv
    python examples/classify.py --mode=evaluate --model=runs/tickets-1

The last one repeats the report on the run's own test rows; --dataset or --test_path names others.

Later, with new rows, a finished run is trained further on its own rows and the new ones, with its settings unless flags say
otherwise, and both test sets are reported before and after:

    python examples/classify.py --init_from=runs/tickets-1 --dataset=tickets_of_may.csv
"""

from tftransformer.runs.commands import classify, run_program

if __name__ == "__main__":
    # A flag for each field of ModeOptions and ClassificationOptions.
    run_program(classify)
