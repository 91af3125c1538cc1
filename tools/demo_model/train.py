"""Trains the demo model.

  train.py WORK_DIR TOKENIZER_JSON      reads WORK_DIR/{train,valid}.txt, writes WORK_DIR/model.pt

One thread, so that the order of every sum is fixed, and all randomness follows from --seed and the step number: a run
that was interrupted goes on from its last checkpoint as if nothing had happened. The learning rate warms up, stays, and
falls linearly to zero over the last --decay steps. Products are computed in bfloat16, everything else in float32.
"""

import argparse
import json
import math
import pathlib
import time

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from model import Config, LlamaForCausalLM

CHECKPOINT_EVERY = 200


def read_passages(path, tokenizer):
    """Returns [token ids] of every passage, with BOS in front as the tokenizer says, and EOS behind."""
    texts = path.read_text(encoding="ascii").strip().split("\n\n")
    end = tokenizer.token_to_id("</s>")
    return [encoding.ids + [end] for encoding in tokenizer.encode_batch(texts)]


class Windows:
    """Windows of length + 1 tokens that begin where a passage begins; every pass over the text has its own order."""

    def __init__(self, passages, length, seed):
        self.stream = torch.tensor([token for passage in passages for token in passage])
        starts = np.cumsum([0] + [len(passage) for passage in passages[:-1]])
        self.starts = starts[starts + length + 1 <= len(self.stream)]
        self.length, self.seed = length, seed

    def batch(self, step, size):
        """Tokens [size, length + 1] of the step, a function of (seed, step) alone."""
        rows = []
        for index in range(step * size, (step + 1) * size):
            epoch, place = divmod(index, len(self.starts))
            start = self.starts[np.random.default_rng([self.seed, epoch]).permutation(len(self.starts))[place]]
            rows.append(self.stream[start : start + self.length + 1])
        return torch.stack(rows)


@torch.no_grad()
def perplexity(model, passages, length):
    """Per token, over the passages without their EOS, each cut to the length; the BOS token is given, not predicted."""
    model.eval()
    loss, count = 0.0, 0
    for passage in passages:
        ids = torch.tensor([passage[:-1][:length]])
        loss += F.cross_entropy(model(ids)[0, :-1], ids[0, 1:], reduction="sum").item()
        count += ids.shape[1] - 1
    model.train()
    return math.exp(loss / count)


def learning_rate(step, args):
    return args.lr * min(1.0, (step + 1) / args.warmup, (args.steps - step) / args.decay)


def make_optimizer(model, args):
    linears = [p for name, p in model.named_parameters() if name.endswith("_proj.weight")]
    others = [p for name, p in model.named_parameters() if not name.endswith("_proj.weight")]
    groups = [{"params": linears, "weight_decay": args.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.98), fused=True)


def train_step(model, optimizer, tokens, step, args):
    torch.manual_seed(args.seed * 1_000_003 + step)  # for the dropout
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, args)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(tokens[:, :-1])
    loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work_dir", type=pathlib.Path)
    parser.add_argument("tokenizer", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=1700)
    parser.add_argument("--decay", type=int, default=600, help="the last steps, over which the learning rate falls")
    parser.add_argument("--warmup", type=int, default=150)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--dropout", type=float, default=0.05)
    parser.add_argument("--batch", type=int, default=8, help="windows a step")
    parser.add_argument("--seed", type=int, default=13)
    return parser.parse_args()


def main():
    args = parse_arguments()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    config = Config()
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    length = config.max_position_embeddings
    windows = Windows(read_passages(args.work_dir / "train.txt", tokenizer), length, args.seed)
    valid = read_passages(args.work_dir / "valid.txt", tokenizer)
    model = LlamaForCausalLM(config, args.dropout)
    optimizer = make_optimizer(model, args)
    checkpoint, first = args.work_dir / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    print(json.dumps({"parameters": sum(p.numel() for p in model.parameters()), "first_step": first}), flush=True)
    model.train()
    began, losses = time.time(), []
    for step in range(first, args.steps):
        losses.append(train_step(model, optimizer, windows.batch(step, args.batch), step, args))
        done = step + 1
        if done % CHECKPOINT_EVERY == 0 or done == args.steps:
            print(json.dumps({"step": done, "training_loss": round(sum(losses) / len(losses), 4),
                              "validation_perplexity": round(perplexity(model, valid, length), 3),
                              "seconds": round(time.time() - began)}), flush=True)
            losses = []
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": done}
            torch.save(state, args.work_dir / "checkpoint.tmp")
            (args.work_dir / "checkpoint.tmp").replace(checkpoint)
    torch.save(model.state_dict(), args.work_dir / "model.pt")


if __name__ == "__main__":
    main()
