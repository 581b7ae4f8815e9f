"""Put a checkpoint into a structure of your own, and fine-tune, evaluate, save and export it.

    python -m tftransformer custom_model --layers=every_second --max_sequence_length=512 \\
        --new_tokens=swollen,tingling,vomiting --learning_rate=2e-4

takes every second block of the embedded encoder, twice as many positions and three new words, and fine-tunes the
result on the embedded sample: 5.3 million parameters instead of 7.9, and a macro-F1 of .847 with seed 0 (word
counting: .73). Without a rate it would take the one that the preset advises for the whole encoder, 7e-5, and get .71 in
the same time: half as deep a model needs more. The steps, each of which is one call in your own code:

1. A config states the structure: a JSON file with the fields of `tt.TransformerConfig` that you want to set
   (`--config=config.json`; what it leaves out is the checkpoint's), or the flags above alone.

       config = tt.TransformerConfig.from_json(open("config.json").read())

2. The weights come from a preset by name, a folder, a hub (`--preset=hf://owner/name`), or a bare file
   (`--weights=model.safetensors --vocabulary=vocab.txt --config=config.json`), and are fitted to the config:
   fewer blocks (the first, the last, every second, or by number), fewer or more positions (repeated or
   interpolated), new tokens at the end of a WordPiece vocabulary, whose vectors start as the mean of the others.
   Any other difference is an error, not a guess.

       preset = tt.checkpoints.adapt(tt.load_preset("bert_base_en_uncased"), config, layers="every_second")
       print(preset.summary)
       encoder = preset.build_encoder()           # a plain functional keras.Model, if that is all you need

3. The model is written as a preset of its own (`--model_dir`, by default `presets/custom-1`), which every other
   command takes, too.

       tt.checkpoints.write_preset(preset, "presets/custom-1")

4. Optimizer and schedule are set, the classifier is fine-tuned, evaluated beside word counting, saved and exported
   as a SavedModel, as by `classify`; the run is left in `runs/sample-1`.

       classifier = tt.TextClassifier.from_preset("presets/custom-1", labels=train.labels)
       classifier.compile(learning_rate=1e-4, schedule="cosine", warmup=0.1)
       classifier.fit(train, validation_data=validation, epochs=8)
       print(classifier.report(test))
       classifier.export("serving/1")
"""

from tftransformer.runs.flags import OptionFlags
from tftransformer.runs.options import CustomOptions

RUN = OptionFlags(
    CustomOptions,
    without=("init_from", "add_labels"),
    sequence_length="Longest text in tokens; default: the model's limit.",
    overwrite="Replace what --model_dir and --output_dir hold.",
)
FLAGS = (RUN,)


def run(options: CustomOptions) -> None:
    """Adapt, train, and report."""
    from tftransformer.runs import custom

    custom.train(options)
