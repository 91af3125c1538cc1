"""The models: where they are, what calibrates them, and how quality is measured in ONNX Runtime.

The demo model is in the repository. The others come from the folder of test data next to it
(PTQ_SHARED, by default ../shared) and are left out without it; all-MiniLM-L6-v2 is looked for in
MINILM_DIR, as tools/export_minilm.py of that folder writes it.
"""

import functools
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("PTQ_SHARED", ROOT.parent / "shared"))
MOST_TOKENS = 512


class Unavailable(Exception):
    """A model that is not here; the message says what is missing."""


def needed(path):
    if not path.exists():
        raise Unavailable(f"{path} is absent")
    return path


@functools.cache
def shared_measure():
    """The module that defines the stories and their token ids."""
    spec = importlib.util.spec_from_file_location("measure", needed(SHARED / "tools/measure.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def outputs(running, ids, mask):
    """The first output, float32, for ids and mask of int64 [batch, tokens]."""
    every = {
        "input_ids": ids,
        "attention_mask": mask,
        "position_ids": np.broadcast_to(np.arange(ids.shape[1]), ids.shape),
        "token_type_ids": np.zeros_like(ids),
    }
    feed = {item.name: every[item.name] for item in running.get_inputs()}
    return running.run([running.get_outputs()[0].name], feed)[0].astype(np.float32)


def log_softmax(x):
    x = x.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


class LanguageModel:
    """`texts` are token ids; every text is a sequence of its own."""

    def __init__(self, source, tokenizer, texts):
        self.source, self.tokenizer = source, tokenizer
        self.texts = [np.array(ids[:MOST_TOKENS], np.int64) for ids in texts]

    def logits(self, path):
        running = session(path)
        for ids in self.texts:
            yield outputs(running, ids[None], np.ones_like(ids)[None])[0, :-1]

    @functools.cached_property
    def reference(self):
        return list(self.logits(self.source))

    def quality(self, path):
        """KL(float || quantized) a token in nats, perplexity, agreement of the top tokens."""
        kl = nll = same = count = 0
        every = self.reference if path == self.source else self.logits(path)
        for ids, want, got in zip(self.texts, self.reference, every):
            p, q = log_softmax(want), log_softmax(got)
            kl += (np.exp(p) * (p - q)).sum()
            nll -= q[np.arange(len(q)), ids[1:]].sum()
            same += (want.argmax(-1) == got.argmax(-1)).sum()
            count += len(q)
        return {
            "kl": round(float(kl / count), 6),
            "perplexity": round(float(np.exp(nll / count)), 4),
            "top1": round(float(same / count), 5),
        }


class Encoder:
    """`texts` are token ids of sentences; a sentence's vector is the mean over its tokens."""

    def __init__(self, source, tokenizer, texts):
        self.source, self.tokenizer, self.texts = source, tokenizer, texts

    def vectors(self, path, batch=50):
        running, vectors = session(path), [None] * len(self.texts)
        order = sorted(range(len(vectors)), key=lambda i: len(self.texts[i]))
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            ids = np.zeros((len(chosen), max(len(self.texts[i]) for i in chosen)), np.int64)
            mask = np.zeros_like(ids)
            for row, i in enumerate(chosen):
                ids[row, : len(self.texts[i])] = self.texts[i]
                mask[row, : len(self.texts[i])] = 1
            hidden = (outputs(running, ids, mask) * mask[..., None]).sum(1)
            hidden /= np.linalg.norm(hidden, axis=-1, keepdims=True)
            for row, i in enumerate(chosen):
                vectors[i] = hidden[row]
        return np.array(vectors)

    @functools.cached_property
    def reference(self):
        return self.vectors(self.source)

    def quality(self, path):
        """The mean cosine between a sentence's vectors by the float and the quantized model."""
        got = self.reference if path == self.source else self.vectors(path)
        return {"cosine": round(float((self.reference * got).sum(1).mean()), 6)}


def demo(work):
    source = ROOT / "data" / "demo"
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    texts = (source / "heldout.txt").read_text(encoding="utf-8").strip().split("\n\n")
    return LanguageModel(source / "model.onnx", source, [tokenizer.encode(t).ids for t in texts])


def tinystories(work):
    source = needed(SHARED / "onnx/exports/tinystories-656k-ts17-nopast/model.onnx")
    measure = shared_measure()
    texts = measure.story_ids(measure.stories()[:100])
    return LanguageModel(source, SHARED / "models/tinystories-656k-llama", texts)


def outliers(work):
    plain, source = tinystories(work), work / "outliers" / "model.onnx"
    source.parent.mkdir(parents=True, exist_ok=True)
    script = SHARED / "tools" / "inject_outliers.py"
    subprocess.run([sys.executable, script, plain.source, source], check=True)
    return LanguageModel(source, plain.tokenizer, plain.texts)


def sentence_pairs(name):
    """The rows of a file of STS-B that are complete."""
    path = needed(SHARED / "text" / "stsbenchmark" / name)
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n")]
    return [row[5:7] for row in rows if len(row) > 6]


def minilm(work):
    if "MINILM_DIR" not in os.environ:
        raise Unavailable("MINILM_DIR is not set")
    folder = pathlib.Path(os.environ["MINILM_DIR"])
    source = needed(folder / "model.onnx")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(128)
    pairs = sentence_pairs("sts-dev.csv")[::3]
    texts = [tokenizer.encode(pair[column]).ids for column in (0, 1) for pair in pairs]
    return Encoder(source, folder, texts)


LOADERS = {"demo": demo, "tinystories": tinystories, "outliers": outliers, "minilm": minilm}


def calibration_texts(name):
    kind, _, which = name.partition(" ")
    if kind == "stories":
        start, count = map(int, which.split("+"))
        return shared_measure().stories()[start : start + count]
    if kind == "wikitext":
        text = needed(SHARED / "text/wikitext-2/valid.txt").read_text(encoding="utf-8")
        return [text[i * 900 : (i + 1) * 900] for i in range(int(which))]
    pairs = sentence_pairs("sts-train.csv")
    return [text for i in range(512) for text in pairs[i * len(pairs) // 512]]


def calibration(name, work):
    """The file for --calib, and the number of its texts."""
    if name == "passages":
        return ROOT / "data" / "demo" / "calibration.txt", 128
    texts = calibration_texts(name)
    path = work / "texts" / f"{name.replace(' ', '-')}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    path.write_text("".join(lines), encoding="utf-8")
    return path, len(texts)
