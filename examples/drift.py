"""Say whether new texts are still of the kind that a classifier was trained on.

    python examples/classify.py --freeze_layers=8
    python examples/drift.py --model=runs/sample-1 --texts=new.txt

compares lengths, unknown tokens, frequencies of tokens, predicted labels, confidence and the classifier's vectors with
those of the run's own texts, each beside what is noise, and lists words that more of the new texts have. Texts are read
from a .txt file, one a line, or from a CSV, TSV or JSONL file; labels in it are not looked at.
"""

from tftransformer.runs.commands import drift, run_program

if __name__ == "__main__":
    # A flag for each field of DriftOptions.
    run_program(drift)
