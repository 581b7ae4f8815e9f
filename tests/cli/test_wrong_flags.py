"""A wrong flag is one line at once, for every command and example: before Keras or TensorFlow is imported, and nothing is written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tftransformer.runs.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]

WRONG = [
    ("classify --epochs=0", "--epochs must be at least 1; got 0"),
    ("classify_documents --max_chunks=0", "--max_chunks must be at least 1; got 0"),
    ("compare_strategies --strategies=full,lara", "--strategies must be one of .*; got 'lara'; did you mean 'lora'"),
    ("cross_validate --learning_rate=2", "--learning_rate must be above 0 and at most 1; got 2.0"),
    ("custom_model --vocabulary=v.txt", "--vocabulary goes with --weights"),
    ("drift --texts=new.txt", "--model is missing"),
    ("generate.py --mode=chat", "--init_from must be given, the folder of a finished run, or pass --preset; one of the two"),
    ("inspect_preset --jsn", "there is no flag --jsn; did you mean --json"),
    ("multi_task --sampling=all", "--sampling must be"),
    ("pretrain train --shards=s --output_dir=out --steps=3 --objective=mlm", "--objective must be one of"),
    ("classify.py --epochs=0", "--epochs must be a positive integer; got .0."),
    ("classify_documents.py --max_chunks=0", "--max_chunks must be a positive integer; got .0."),
    ("multi_task.py --epochs=0", "--epochs must be a positive integer; got .0."),
    ("regress.py --epochs=0", "--epochs must be a positive integer; got .0."),
    ("search --epochs=2,many", "--epochs must be a number, or two"),
    ("summarize.py --source_column=text", "--dataset must be given: a CSV, TSV, JSONL or Parquet file"),
    ("tag.py --epochs=0", "--epochs must be a positive integer; got .0."),
    ("translate --source=en", "--dataset must be given: a folder such as multi30k/"),
    ("translate.py --epochs=0", "--epochs must be a positive integer; got .0."),
    ("regress --mode=predict --model=runs/a --text=b", "--model must be a folder; runs/a does not exist"),
    ("tag --scheme=IOB3", "--scheme must be one of IOB1, IOB2, BIOES, BILOU, plain; got .IOB3."),
]  # fmt: skip
MORE = [
    ("classify --epoch=1", "there is no flag --epoch; did you mean --epochs"),
    ("classify --zzz", "there is no flag --zzz "),
    ("classify --epochs=two", "--epochs must be a whole number; got 'two'"),
    ("classify --warmup=x", "--warmup must be a number; got 'x'"),
    ("classify --overwrite=so", "--overwrite must be true or false; got 'so'"),
    ("classify --pooling=men", "--pooling must be one of cls, mean, max; got 'men'"),
    ("classify --schedule=linaer", "--schedule must be one of .*did you mean 'linear'"),
    ("classify --class_weight=balancd", "--class_weight must be .*did you mean 'balanced'"),
    ("classify --distribution=mirored", "--distribution must be one of .*did you mean 'mirrored'"),
    ("classify --activation_cache=of", "--activation_cache must be .*did you mean 'off'"),
    ("classify --augmentation=swp:0.1", "--augmentation must be one of .*did you mean 'swap'"),
    ("classify --weight_decay=-1", "--weight_decay must be at least 0"),
    ("classify --label_smoothing=1", "--label_smoothing must be at least 0 and below 1"),
    ("classify --warmup=-0.1", "--warmup as a fraction must be at least 0"),
    ("classify --dataset=nothing.csv", "--dataset: nothing.csv does not exist"),
    ("classify --train_path=nothing.csv", "--train_path: nothing.csv does not exist"),
    ("classify --dataset=mine.txt --train_path=a.csv", "--dataset must be a folder where --train_path names a file"),
    ("translate --dataset=d --hidden_dim=30", "--hidden_dim must be a multiple of --num_heads; got 30 and 4"),
    ("translate --dataset=d --vocabulary_size=9", "--vocabulary_size must be at least 261; got 9"),
    ("translate --dataset=d --dropout=1", "--dropout must be at least 0 and below 1"),
    ("translate --dataset=d --num_beams=0", "--num_beams must be at least 1; got 0"),
    ("translate --dataset=d --schedule=inverse", "--schedule must be one of .*did you mean 'inverse_sqrt'"),
    ("translate --dataset=d --minutes=3 --schedule=linear", "--schedule linear cannot go with --minutes: it has to know"),
    ("translate --dataset=d --minutes=3 --epochs=2", "--epochs cannot go with --minutes, which decide"),
    ("translate --dataset=d --family=trasformer", "--family must be one of .*did you mean 'transformer'"),
    ("translate --dataset=d --init_from=runs/a --num_layers=2", "--num_layers cannot go with --init_from"),
    ("translate --mode=translate --text=a", "--model must be given"),
    ("translate --mode=translate --model=runs/a --epochs=3", "--epochs cannot go with --mode=translate"),
    ("translate --dataset=d --text=a", "--text goes with --mode=translate; got --mode=train"),
    ("generate --epochs=3", "--dataset must be given: a text file, a JSONL file"),
    ("generate --dataset=d --hidden_dim=30", "--hidden_dim must be a multiple of --num_heads; got 30 and 4"),
    ("generate --dataset=d --sequence_length=3", "--sequence_length must be at least 4; got 3"),
    ("generate --dataset=d --family=bert", "--family must be one of gpt2"),
    ("generate --dataset=d --unit=paragraphs", "--unit must be one of .*did you mean 'paragraph'"),
    ("generate --dataset=d --init_from=a --preset=b", "--preset cannot go with --init_from: both say"),
    ("generate --dataset=d --preset=b --num_layers=2", "--num_layers cannot go with --preset, whose network"),
    ("generate --dataset=d --init_from=runs/a", "--init_from must be a folder; runs/a does not exist"),
    ("generate --dataset=d --minutes=3 --epochs=2", "--epochs cannot go with --minutes, which decide"),
    ("generate --dataset=d --prompt=a", "--prompt goes with --mode=generate; got --mode=train"),
    ("generate --dataset=d --temperature=0", "--temperature must be a positive number; got 0"),
    ("generate --dataset=d --temperature=nan", "--temperature must be a positive number; got nan"),
    ("generate --dataset=d --top_p=0", "--top_p must be above 0 and at most 1; got 0"),
    ("generate --dataset=d --top_p=1.5", "--top_p must be above 0 and at most 1; got 1.5"),
    ("generate --dataset=d --min_p=1", "--min_p must be at least 0 and below 1; got 1"),
    ("generate --dataset=d --top_k=0", "--top_k must be at least 1; got 0"),
    ("generate --dataset=d --search=beam", "--search must be one of .*did you mean 'beams'"),
    ("generate --dataset=d --search=greedy --top_k=3", "--top_k goes with --search=sampling; got --search=greedy"),
    ("generate --dataset=d --num_beams=3", "--num_beams goes with --search=beams; got --search=sampling"),
    ("generate --dataset=d --search=beams --num_texts=5", "--num_texts must be at most --num_beams, 4; got 5"),
    ("generate --dataset=d --search=beams --length_penalty=inf", "--length_penalty must be a finite number; got inf"),
    ("generate --dataset=d --search=beams --num_groups=3", "--num_groups must divide --num_beams, 4; got 3"),
    ("generate --dataset=d --search=beams --num_groups=2", "--diversity_penalty must be a positive number; got 0"),
    ("generate --dataset=d --search=beams --diversity_penalty=0.5", "--diversity_penalty must be 0 where --num_groups is 1"),
    ("generate --dataset=d --search=greedy --num_texts=2", "--num_texts must be 1 with --search=greedy"),
    ("generate --dataset=d --repetition_penalty=-1", "--repetition_penalty must be a positive number; got -1"),
    ("generate --dataset=d --max_new_tokens=0", "--max_new_tokens must be at least 1; got 0"),
    ("generate --dataset=d --min_new_tokens=5 --max_new_tokens=3", "--min_new_tokens must be at most --max_new_tokens, 3; got 5"),
    ("generate --mode=generate --preset=p", "generate needs a prompt: pass --prompt="),
    ("generate --mode=generate --preset=p --prompt=a --prompts=b", "--prompt cannot go with --prompts"),
    ("generate --mode=generate --preset=p --prompts=nothing.txt", "--prompts: nothing.txt does not exist"),
    ("generate --mode=generate --preset=p --prompt=a --output=mine.txt", "--output must be a new file; mine.txt exists"),
    ("generate --mode=generate --preset=p --prompt=a --epochs=3", "--epochs cannot go with --mode=generate"),
    ("generate --mode=generate --preset=p --prompt=a --system=b", "--system goes with --mode=chat; got --mode=generate"),
    ("generate --mode=chat --preset=p --num_texts=2", "--num_texts must be 1 with --mode=chat"),
    ("generate --mode=chat --preset=p --init_from=a", "--init_from must be given, the folder"),
    ("translate --dataset=d --init_from=runs/a", "--init_from must be a folder; runs/a does not exist"),
    ("translate --mode=translate --init_from=runs/a --model=b --text=a", "--init_from cannot go with --model: both name the run"),
    ("summarize --dataset=d --init_from=runs/a --preset=b", "--preset cannot go with --init_from: both say which weights"),
    ("summarize --dataset=d --preset=b --num_layers=2", "--num_layers cannot go with --preset, whose network stays"),
    ("summarize --dataset=d --sequence_length=2", "--sequence_length must be at least 3; got 2"),
    ("summarize --dataset=d --target_length=1", "--target_length must be at least 2; got 1"),
    ("summarize --dataset=d --minutes=3 --epochs=2", "--epochs cannot go with --minutes, which decide"),
    ("summarize --dataset=d --source=text", "there is no flag --source; did you mean --source_column"),
    ("summarize --mode=summarise", "--mode must be one of train, summarize; got 'summarise'; did you mean 'summarize'"),
    ("summarize --mode=summarize --text=a", "--model must be given"),
    ("summarize --mode=summarize --init_from=runs/a --text=a", "--init_from must be a folder; runs/a does not exist"),
    ("summarize --mode=summarize --model=runs/a --epochs=3", "--epochs cannot go with --mode=summarize"),
    ("summarize --dataset=d --texts=a", "--texts goes with --mode=summarize; got --mode=train"),
    ("summarize --dataset=d --output_dir=.", "--output_dir must be new, empty or a run's own folder; . holds 'mine.txt'"),
    ("custom_model --config=nothing.json", "--config: nothing.json does not exist"),
    ("multi_task --data=nothing", "--data: nothing does not exist"),
    ("multi_task --tasks=a,b", "--tasks goes with --data, a folder that holds them; got a, b without it"),
    ("search --learning_rate=1e-3,1e-5", "--learning_rate must be .low, high., two numbers that rise"),
    ("classify --output_dir=.", "--output_dir must be new, empty or a run's own folder; . holds 'mine.txt'"),
    ("classify --mode=predict --text=a", "--model must be given"),
    ("classify --mode=predict --model=a --text=b --dataset=c.csv", "--dataset cannot go with --mode=predict"),
    ("classify --mode=predict --model=a --text=b --min_probability=2", "--min_probability must be between 0 and 1; got 2"),
    ("classify --mode=predict --model=a --text=b --min_accuracy=0.9 --min_probability=0.5", "--min_accuracy cannot go with --min_p"),
    ("classify --mode=predict --model=runs/a --text=b --label_sets=0.9", "--model must be a folder; runs/a does not exist"),
    ("classify --mode=predict --model=runs/a --text=b --label_sets=most", "--label_sets must be a number; got 'most'"),
    ("classify --label_sets=0.9", "--label_sets goes with --mode=predict; got --mode=train"),
    ("classify --mode=evaluate --model=a --min_accuracy=0.9", "--min_accuracy goes with --mode=predict; got --mode=evaluate"),
    ("classify --model=a", "--model goes with --mode=evaluate or --mode=predict; got --mode=train"),
    ("classify --minutes=0", "--minutes must be above 0 and finite; got 0"),
    ("classify --minutes=2 --epochs=3", "--epochs cannot go with --minutes, which decide how long is trained; got 3"),
    ("classify --mode=evaluate --model=runs/a", "--model must be a folder; runs/a does not exist"),
    ("classify --mode=predict --model=runs/a --text=b", "--model must be a folder; runs/a does not exist"),
    ("classify --init_from=runs/a --dataset=sample", "--init_from must be a folder; runs/a does not exist"),
    ("drift --model=runs/a --texts=b", "--model must be a folder; runs/a does not exist"),
    ("classify now", "every argument must be a flag, --name=value; got 'now'"),
    ("multi_task --strategy=lora:0", "--strategy lora takes a positive integer"),
    ("pretrain prepare --texts=a --output_dir=out --heldout_fraction=1", "--heldout_fraction must be above 0"),
    ("compare_strategies --learning_rates=1e-3,2", "--learning_rates must be above 0 and at most 1; got 0.001, 2.0"),
    ("compare_strategies --strategies=lora,lora:8", "--strategies must be different ones; got lora:8, lora:8"),
    ("compare_strategies --train_examples=50,1", "--train_examples must be at least 2; got 50, 1"),
    ("search --strategies=full --learning_rate=1e-4 --epochs=3", "a search needs something to choose from: several --str"),
    ("search --freeze_layers=2,4 --strategies=full", "--freeze_layers goes with the strategy 'freeze'"),
    ("search --trials=0", "--trials must be at least 1; got 0"),
    ("compare_strategies --seeds=0", "--seeds must be at least 1; got 0"),
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


def test_every_command_and_example_is_tried():
    assert {command.split()[0].removesuffix(".py") for command, _ in WRONG} == {*COMMANDS}
    tried = {command.split()[0] for command, _ in WRONG if ".py " in command}
    assert tried == {p.name for p in (ROOT / "examples").glob("*.py")}
