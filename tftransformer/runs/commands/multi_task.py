"""Train several tasks together on one encoder, and each alone, and see what it is worth.

    python -m tftransformer multi_task

makes two tasks of the embedded sample (each half of the six departments), trains one encoder with two heads
on both, then one model for each, and ends with a table of test accuracy and macro-F1 alone and together. The run is left
in `runs/multi_task-1`: the table, a plot, the model, and a SavedModel with one signature a task. With a folder
that holds `sst2`, `ag_news` and `mrpc` (or, with `--tasks`, folders or files of your own):

    python -m tftransformer multi_task --data=FOLDER --preset=ENCODER --train_examples=500 --test_examples=500 \\
        --sequence_length=64 --learning_rate=1e-4

Do not expect tasks as unlike as these to help each other. With all-MiniLM-L6-v2 that command gave, alone and together,
.818 and .820 on SST-2, .868 and .842 on AG News, .680 and .656 on MRPC: together costs AG News something, and one
model serves all three.

In your own code it is

    tasks = {"sst2": sst2.train, "ag_news": ag_news.train, "mrpc": mrpc.train}      # tt.data.load
    model = tt.MultiTaskClassifier.from_preset("bert_12x192_en_uncased", tasks=tasks)
    model.compile()
    model.fit(tasks, sampling="proportional:0.75", validation_data={"mrpc": mrpc.validation})
    print(model.report(mrpc.test, task="mrpc"))
    model.export("serving/1")
"""

from tftransformer.runs.flags import OptionFlags
from tftransformer.runs.options import MultiTaskOptions

FLAGS = (OptionFlags(MultiTaskOptions),)


def run(options: MultiTaskOptions) -> None:
    """Train together and alone, and compare."""
    from tftransformer.runs import multi_task

    multi_task.compare(options)
