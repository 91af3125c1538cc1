"""Trains the demo model's tokenizer, byte-level BPE, and writes the files around it.

  tokenizer.py WORK_DIR OUT_DIR      reads WORK_DIR/train.txt, writes tokenizer.json and tokenizer_config.json

A text is encoded as `<s> text`: the post-processor adds the BOS token, and no space is put in front of the first word.
"""

import argparse
import json
import pathlib

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

VOCABULARY = 2048
BOS, EOS, PAD = "<s>", "</s>", "<pad>"

# The model has only ever seen prose, so a conversation is given to it as the bare texts, one a line.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['content'] | trim }}"
    "{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}"
)


def train(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[PAD, BOS, EOS],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A {BOS}:1 $B:1",
        special_tokens=[(BOS, tokenizer.token_to_id(BOS))],
    )
    return tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work_dir", type=pathlib.Path)
    parser.add_argument("out_dir", type=pathlib.Path)
    args = parser.parse_args()
    args.out_dir.mkdir(parents=True, exist_ok=True)
    texts = (args.work_dir / "train.txt").read_text(encoding="ascii").strip().split("\n\n")
    tokenizer = train(texts)
    tokenizer.save(str(args.out_dir / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
        "padding_side": "right",
        "chat_template": CHAT_TEMPLATE,
    }
    (args.out_dir / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    lengths = [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]
    print(f"{tokenizer.get_vocab_size()} tokens; training text: {sum(lengths)} tokens in {len(texts)} passages, "
          f"longest {max(lengths)}; {sum(map(len, texts)) / sum(lengths):.2f} characters a token")


if __name__ == "__main__":
    main()
