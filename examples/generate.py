"""Train a language model, from nothing or from a pretrained one, write with it and chat with it.

    python examples/generate.py --dataset=wikitext2/ --minutes=10

reads text files (a file, or train.txt, valid.txt and test.txt in a folder), learns a vocabulary of sub-words, trains a decoder of
GPT-2's shape (Radford et al. 2019) in a small size, and ends with its perplexity of a token, a word and a byte beside that of
Kneser-Ney 5-grams of the same tokens. Prompts with answers, or chats, come from JSONL files, and their answers alone are learned:

    python examples/generate.py --dataset=questions.jsonl      # {"prompt": "2+2", "answer": "4"}
    python examples/generate.py --dataset=chats.jsonl --init_from=runs/wikitext2-1
                                                               # {"messages": [{"role": "user", "content": "Hello"}, ...]}
    python examples/generate.py --dataset=notes.txt --preset=gpt2/

A finished run, or a preset, writes and answers; each token is shown as soon as it is known:

    python examples/generate.py --mode=generate --init_from=runs/wikitext2-1 --prompt="The film" --temperature=0.8 --top_p=0.9
    python examples/generate.py --mode=generate --init_from=runs/wikitext2-1 --prompts=begun.txt --search=beams --output=written.txt
    python examples/generate.py --mode=chat --init_from=runs/chats-1 --system="Be brief."

A run that was interrupted goes on behind its last epoch when it is started again with the same flags and --output_dir.
Its saved_model/1/ takes strings and answers strings.
"""

from tftransformer.runs.commands import generate, run_program

if __name__ == "__main__":
    # A flag for each field of ModeOptions, DecodingOptions and GenerationOptions.
    run_program(generate)
