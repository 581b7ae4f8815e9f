"""Pretrain an encoder on plain text, by masked-LM or by distillation from a larger open encoder, to a preset.

Two steps. The first turns texts into integers, once:

    python examples/pretrain.py prepare --texts=books/ --output_dir=shards/
    python examples/pretrain.py prepare --texts=books/ --preset=bert_12x192_en_uncased \\
        --teacher=all-MiniLM-L6-v2/ --output_dir=shards/

Texts are UTF-8 `.txt` or `.txt.gz` files, one paragraph a line, a blank line between documents. The vocabulary
is learned from them, or taken from --vocabulary or --preset; every 200th part of the texts is held out. The
second step reads only what the first one wrote, and runs with KERAS_BACKEND=tensorflow or jax (there without
TensorFlow):

    python examples/pretrain.py train --shards=shards/ --minutes=60 --output_dir=presets/mine
    python examples/pretrain.py train --shards=shards/ --preset=bert_12x192_en_uncased --minutes=60 \\
        --output_dir=presets/mine
    python examples/pretrain.py train --shards=shards/ --teacher=all-MiniLM-L6-v2/ --objective=distillation \\
        --minutes=60 --output_dir=presets/mine

It starts from nothing, from --preset (which must have made the shards' ids), or, distilling without --preset,
from the teacher's weights, projected and fitted on a sample (a minute or two). While it runs it shows the losses,
the perplexity or loss on held-out text, tokens a second, the fraction of the machine's matrix-product peak that
these take, and the time left. Of a distillation the `word` and `sentence` losses are relative errors, where 1 is
no better than the mean vector and 0 is the teacher.

--output_dir is a preset, written anew every few minutes: what `examples/classify.py --preset=FOLDER` and
`tt.load_preset` take. After masked-LM it holds the head for masked words, too, as a Hugging Face folder may: a
run that continues such a preset goes on with both. Beside it, in a folder of that name with `.run` behind it,
stand checkpoint.npz, log.csv and curves.png; the same command with --resume goes on from the checkpoint, in the
same order of the data.
"""

from tftransformer.runs.commands import pretrain, run_program

if __name__ == "__main__":
    # A flag for each field of TextOptions and PretrainingOptions.
    run_program(pretrain)
