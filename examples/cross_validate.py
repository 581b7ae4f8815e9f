"""Cross-validate one way of fine-tuning: mean and deviation of its quality over stratified folds.

    python examples/cross_validate.py --strategy=freeze:8 --learning_rate=5e-4 --epochs=3 --folds=5

trains five times on four fifths of the embedded sample's training and validation rows and ends with a table: the
figures of each fold, their mean and their deviation. Equal texts, and rows of equal `--group_column`, share a fold; the
test split is left alone. Everything is left in `runs/sample-folds`; interrupted, the same command goes on.
"""

from tftransformer.runs.commands import cross_validate, run_program

if __name__ == "__main__":
    # A flag for each field of FoldOptions, and those of ClassificationOptions that it takes.
    run_program(cross_validate)
