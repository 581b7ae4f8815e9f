"""A wrong flag is one line at once, for every example: before Keras or TensorFlow is imported, and nothing is written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

WRONG = [
    ("classify.py --epochs=0", "--epochs must be at least 1; got 0"),
    ("classify_documents.py --max_chunks=0", "--max_chunks must be at least 1; got 0"),
    ("compare_strategies.py --strategies=full,lara", "--strategies must be one of .*; got 'lara'; did you mean 'lora'"),
    ("cross_validate.py --learning_rate=2", "--learning_rate must be above 0 and at most 1; got 2.0"),
    ("custom_model.py --vocabulary=v.txt", "--vocabulary goes with --weights"),
    ("drift.py --texts=new.txt", "--model is missing"),
    ("generate.py --mode=chat", "--init_from must be given, the folder of a finished run, or pass --preset; one of the two"),
    ("inspect_preset.py --jsn", "there is no flag --jsn; did you mean --json"),
    ("multi_task.py --sampling=all", "--sampling must be"),
    ("pretrain.py train --shards=s --output_dir=out --steps=3 --objective=mlm", "--objective must be one of"),
    ("regress.py --epochs=0", "--epochs must be a positive integer; got .0."),
    ("search.py --epochs=2,many", "--epochs must be a number, or two"),
    ("summarize.py --source_column=text", "--dataset must be given: a CSV, TSV, JSONL or Parquet file"),
    ("tag.py --epochs=0", "--epochs must be a positive integer; got .0."),
    ("translate.py --source=en", "--dataset must be given: a folder such as multi30k/"),
    ("regress --mode=predict --model=runs/a --text=b", "--model must be a folder; runs/a does not exist"),
    ("tag --scheme=IOB3", "--scheme must be one of IOB1, IOB2, BIOES, BILOU, plain; got .IOB3."),
]  # fmt: skip
MORE = [
    ("classify.py --epoch=1", "there is no flag --epoch; did you mean --epochs"),
    ("classify.py --zzz", "there is no flag --zzz "),
    ("classify.py --epochs=two", "--epochs must be a whole number; got 'two'"),
    ("classify.py --warmup=x", "--warmup must be a number; got 'x'"),
    ("classify.py --overwrite=so", "--overwrite must be true or false; got 'so'"),
    ("classify.py --pooling=men", "--pooling must be one of cls, mean, max; got 'men'"),
    ("classify.py --schedule=linaer", "--schedule must be one of .*did you mean 'linear'"),
    ("classify.py --class_weight=balancd", "--class_weight must be .*did you mean 'balanced'"),
    ("classify.py --distribution=mirored", "--distribution must be one of .*did you mean 'mirrored'"),
    ("classify.py --activation_cache=of", "--activation_cache must be .*did you mean 'off'"),
    ("classify.py --augmentation=swp:0.1", "--augmentation must be one of .*did you mean 'swap'"),
    ("classify.py --weight_decay=-1", "--weight_decay must be at least 0"),
    ("classify.py --label_smoothing=1", "--label_smoothing must be at least 0 and below 1"),
    ("classify.py --warmup=-0.1", "--warmup as a fraction must be at least 0"),
    ("classify.py --dataset=nothing.csv", "--dataset: nothing.csv does not exist"),
    ("classify.py --train_path=nothing.csv", "--train_path: nothing.csv does not exist"),
    ("classify.py --dataset=mine.txt --train_path=a.csv", "--dataset must be a folder where --train_path names a file"),
    ("translate.py --dataset=d --hidden_dim=30", "--hidden_dim must be a multiple of --num_heads; got 30 and 4"),
    ("translate.py --dataset=d --vocabulary_size=9", "--vocabulary_size must be at least 261; got 9"),
    ("translate.py --dataset=d --dropout=1", "--dropout must be at least 0 and below 1"),
    ("translate.py --dataset=d --num_beams=0", "--num_beams must be at least 1; got 0"),
    ("translate.py --dataset=d --schedule=inverse", "--schedule must be one of .*did you mean 'inverse_sqrt'"),
    ("translate.py --dataset=d --minutes=3 --schedule=linear", "--schedule linear cannot go with --minutes: it has to know"),
    ("translate.py --dataset=d --minutes=3 --epochs=2", "--epochs cannot go with --minutes, which decide"),
    ("translate.py --dataset=d --family=trasformer", "--family must be one of .*did you mean 'transformer'"),
    ("translate.py --dataset=d --init_from=runs/a --num_layers=2", "--num_layers cannot go with --init_from"),
    ("translate.py --mode=translate --text=a", "--model must be given"),
    ("translate.py --mode=translate --model=runs/a --epochs=3", "--epochs cannot go with --mode=translate"),
    ("translate.py --dataset=d --text=a", "--text goes with --mode=translate; got --mode=train"),
    ("generate.py --epochs=3", "--dataset must be given: a text file, a JSONL file"),
    ("generate.py --dataset=d --hidden_dim=30", "--hidden_dim must be a multiple of --num_heads; got 30 and 4"),
    ("generate.py --dataset=d --sequence_length=3", "--sequence_length must be at least 4; got 3"),
    ("generate.py --dataset=d --family=bert", "--family must be one of gpt2"),
    ("generate.py --dataset=d --unit=paragraphs", "--unit must be one of .*did you mean 'paragraph'"),
    ("generate.py --dataset=d --init_from=a --preset=b", "--preset cannot go with --init_from: both say"),
    ("generate.py --dataset=d --preset=b --num_layers=2", "--num_layers cannot go with --preset, whose network"),
    ("generate.py --dataset=d --init_from=runs/a", "--init_from must be a folder; runs/a does not exist"),
    ("generate.py --dataset=d --minutes=3 --epochs=2", "--epochs cannot go with --minutes, which decide"),
    ("generate.py --dataset=d --prompt=a", "--prompt goes with --mode=generate; got --mode=train"),
    ("generate.py --dataset=d --temperature=0", "--temperature must be a positive number; got 0"),
    ("generate.py --dataset=d --temperature=nan", "--temperature must be a positive number; got nan"),
    ("generate.py --dataset=d --top_p=0", "--top_p must be above 0 and at most 1; got 0"),
    ("generate.py --dataset=d --top_p=1.5", "--top_p must be above 0 and at most 1; got 1.5"),
    ("generate.py --dataset=d --min_p=1", "--min_p must be at least 0 and below 1; got 1"),
    ("generate.py --dataset=d --top_k=0", "--top_k must be at least 1; got 0"),
    ("generate.py --dataset=d --search=beam", "--search must be one of .*did you mean 'beams'"),
    ("generate.py --dataset=d --search=greedy --top_k=3", "--top_k goes with --search=sampling; got --search=greedy"),
    ("generate.py --dataset=d --num_beams=3", "--num_beams goes with --search=beams; got --search=sampling"),
    ("generate.py --dataset=d --search=beams --num_texts=5", "--num_texts must be at most --num_beams, 4; got 5"),
    ("generate.py --dataset=d --search=beams --length_penalty=inf", "--length_penalty must be a finite number; got inf"),
    ("generate.py --dataset=d --search=beams --num_groups=3", "--num_groups must divide --num_beams, 4; got 3"),
    ("generate.py --dataset=d --search=beams --num_groups=2", "--diversity_penalty must be a positive number; got 0"),
    ("generate.py --dataset=d --search=beams --diversity_penalty=0.5", "--diversity_penalty must be 0 where --num_groups is 1"),
    ("generate.py --dataset=d --search=greedy --num_texts=2", "--num_texts must be 1 with --search=greedy"),
    ("generate.py --dataset=d --repetition_penalty=-1", "--repetition_penalty must be a positive number; got -1"),
    ("generate.py --dataset=d --max_new_tokens=0", "--max_new_tokens must be at least 1; got 0"),
    ("generate.py --dataset=d --min_new_tokens=5 --max_new_tokens=3", "--min_new_tokens must be at most --max_new_tokens, 3; got 5"),
    ("generate.py --mode=generate --preset=p", "generate needs a prompt: pass --prompt="),
    ("generate.py --mode=generate --preset=p --prompt=a --prompts=b", "--prompt cannot go with --prompts"),
    ("generate.py --mode=generate --preset=p --prompts=nothing.txt", "--prompts: nothing.txt does not exist"),
    ("generate.py --mode=generate --preset=p --prompt=a --output=mine.txt", "--output must be a new file; mine.txt exists"),
    ("generate.py --mode=generate --preset=p --prompt=a --epochs=3", "--epochs cannot go with --mode=generate"),
    ("generate.py --mode=generate --preset=p --prompt=a --system=b", "--system goes with --mode=chat; got --mode=generate"),
    ("generate.py --mode=chat --preset=p --num_texts=2", "--num_texts must be 1 with --mode=chat"),
    ("generate.py --mode=chat --preset=p --init_from=a", "--init_from must be given, the folder"),
    ("translate.py --dataset=d --init_from=runs/a", "--init_from must be a folder; runs/a does not exist"),
    ("translate.py --mode=translate --init_from=runs/a --model=b --text=a", "--init_from cannot go with --model: both name the run"),
    ("summarize.py --dataset=d --init_from=runs/a --preset=b", "--preset cannot go with --init_from: both say which weights"),
    ("summarize.py --dataset=d --preset=b --num_layers=2", "--num_layers cannot go with --preset, whose network stays"),
    ("summarize.py --dataset=d --sequence_length=2", "--sequence_length must be at least 3; got 2"),
    ("summarize.py --dataset=d --target_length=1", "--target_length must be at least 2; got 1"),
    ("summarize.py --dataset=d --minutes=3 --epochs=2", "--epochs cannot go with --minutes, which decide"),
    ("summarize.py --dataset=d --source=text", "there is no flag --source; did you mean --source_column"),
    ("summarize.py --mode=summarise", "--mode must be one of train, summarize; got 'summarise'; did you mean 'summarize'"),
    ("summarize.py --mode=summarize --text=a", "--model must be given"),
    ("summarize.py --mode=summarize --init_from=runs/a --text=a", "--init_from must be a folder; runs/a does not exist"),
    ("summarize.py --mode=summarize --model=runs/a --epochs=3", "--epochs cannot go with --mode=summarize"),
    ("summarize.py --dataset=d --texts=a", "--texts goes with --mode=summarize; got --mode=train"),
    ("summarize.py --dataset=d --output_dir=.", "--output_dir must be new, empty or a run's own folder; . holds 'mine.txt'"),
    ("custom_model.py --config=nothing.json", "--config: nothing.json does not exist"),
    ("multi_task.py --data=nothing", "--data: nothing does not exist"),
    ("multi_task.py --tasks=a,b", "--tasks goes with --data, a folder that holds them; got a, b without it"),
    ("search.py --learning_rate=1e-3,1e-5", "--learning_rate must be .low, high., two numbers that rise"),
    ("classify.py --output_dir=.", "--output_dir must be new, empty or a run's own folder; . holds 'mine.txt'"),
    ("classify.py --mode=predict --text=a", "--model must be given"),
    ("classify.py --mode=predict --model=a --text=b --dataset=c.csv", "--dataset cannot go with --mode=predict"),
    ("classify.py --mode=predict --model=a --text=b --min_probability=2", "--min_probability must be between 0 and 1; got 2"),
    ("classify.py --mode=predict --model=a --text=b --min_accuracy=0.9 --min_probability=0.5", "--min_accuracy cannot go with --min_p"),
    ("classify.py --mode=predict --model=runs/a --text=b --label_sets=0.9", "--model must be a folder; runs/a does not exist"),
    ("classify.py --mode=predict --model=runs/a --text=b --label_sets=most", "--label_sets must be a number; got 'most'"),
    ("classify.py --label_sets=0.9", "--label_sets goes with --mode=predict; got --mode=train"),
    ("classify.py --mode=evaluate --model=a --min_accuracy=0.9", "--min_accuracy goes with --mode=predict; got --mode=evaluate"),
    ("classify.py --model=a", "--model goes with --mode=evaluate or --mode=predict; got --mode=train"),
    ("classify.py --minutes=0", "--minutes must be above 0 and finite; got 0"),
    ("classify.py --minutes=2 --epochs=3", "--epochs cannot go with --minutes, which decide how long is trained; got 3"),
    ("classify.py --mode=evaluate --model=runs/a", "--model must be a folder; runs/a does not exist"),
    ("classify.py --mode=predict --model=runs/a --text=b", "--model must be a folder; runs/a does not exist"),
    ("classify.py --init_from=runs/a --dataset=sample", "--init_from must be a folder; runs/a does not exist"),
    ("drift.py --model=runs/a --texts=b", "--model must be a folder; runs/a does not exist"),
    ("classify.py now", "every argument must be a flag, --name=value; got 'now'"),
    ("multi_task.py --strategy=lora:0", "--strategy lora takes a positive integer"),
    ("pretrain.py prepare --texts=a --output_dir=out --heldout_fraction=1", "--heldout_fraction must be above 0"),
    ("compare_strategies.py --learning_rates=1e-3,2", "--learning_rates must be above 0 and at most 1; got 0.001, 2.0"),
    ("compare_strategies.py --strategies=lora,lora:8", "--strategies must be different ones; got lora:8, lora:8"),
    ("compare_strategies.py --train_examples=50,1", "--train_examples must be at least 2; got 50, 1"),
    ("search.py --strategies=full --learning_rate=1e-4 --epochs=3", "a search needs something to choose from: several --str"),
    ("search.py --freeze_layers=2,4 --strategies=full", "--freeze_layers goes with the strategy 'freeze'"),
    ("search.py --trials=0", "--trials must be at least 1; got 0"),
    ("compare_strategies.py --seeds=0", "--seeds must be at least 1; got 0"),
    ("regress --levels=1,many", "--levels must be numbers with commas between; got '1,many'"),
    ("regress --epochs=0", "--epochs must be at least 1; got 0"),
    ("regress --output_dir=.", "--output_dir must be new, empty or a run's own folder; . holds 'mine.txt'"),
    ("regress --model=a", "--model goes with --mode=evaluate or --mode=predict; got --mode=train"),
    ("regress --label_column=stars", "there is no flag --label_column; did you mean --label_columns"),
    ("tag --dataset=nothing.conll", "--dataset: nothing.conll does not exist"),
    ("tag --decode=beam", "--decode must be one of viterbi, argmax; got 'beam'"),
    ("tag --text_pair=a", "there is no flag --text_pair"),
    ("tag --label_smoothing=1", "--label_smoothing must be at least 0 and below 1; got 1"),
    ("tag --mode=evaluate --model=runs/a", "--model must be a folder; runs/a does not exist"),
    ("tag --mode=predict --text=a", "--model must be given"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "message"), [*WRONG, *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE)]
)
def test_a_wrong_flag_is_answered_without_tensorflow(tmp_path, command, message):
    (tmp_path / "mine.txt").write_text("")
    script, *flags = command.split()
    # Where an example shows the library, the command has the flags.
    words = ["-m", "tftransformer", script] if not script.endswith(".py") else [str(ROOT / "examples" / script)]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words, *flags], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    lines = done.stderr.splitlines()
    imported = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines if line.startswith("import time:")}
    said = [line for line in lines if not line.startswith("import time:")]
    assert done.returncode == 1 and len(said) == 1, done.stderr[-2000:]
    assert said[0].startswith("error: ") and re.search(message, said[0])
    assert "absl" in imported and not imported & {"tensorflow", "keras"}
    assert os.listdir(tmp_path) == ["mine.txt"]


def test_every_example_is_tried():
    tried = {command.split()[0] for command, _ in WRONG if ".py " in command}
    assert tried == {p.name for p in (ROOT / "examples").glob("*.py")}
