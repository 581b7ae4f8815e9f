"""Train a Transformer from nothing to translate, score, save and export it.

    python examples/translate.py --dataset=multi30k/ --source=en --target=de --minutes=60

reads parallel files (train.en and train.de, line by line, likewise val and test), learns one vocabulary of sub-words for
both languages, trains the encoder-decoder of Vaswani et al. 2017 in a small size, and ends with BLEU and chrF of a beam
search beside word-by-word translation and a copy of the source. CSV, TSV and JSONL files have columns in place of endings:

    python examples/translate.py --dataset=sentences.tsv --source=eng --target=fra --epochs=40
    python examples/translate.py --mode=translate --model=runs/en-de-1 --text="Two dogs run on the grass."
    python examples/translate.py --mode=translate --model=runs/en-de-1 --texts=new.txt --output=translated.txt

A finished run goes on with other pairs, and both test sets are scored before and after:

    python examples/translate.py --init_from=runs/en-de-1 --dataset=manuals/ --epochs=5

A run that was interrupted goes on behind its last epoch when it is started again with the same flags and --output_dir.
Its saved_model/1/ takes strings and answers strings.
"""

from tftransformer.runs.commands import run_program, translate

if __name__ == "__main__":
    # A flag for each field of ModeOptions and TranslationOptions.
    run_program(translate)
