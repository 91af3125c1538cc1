"""What the tests of runtimes share: ONNX Runtime itself, to compare with."""

import numpy as np
import onnxruntime
from quantize_cli import summarize

TITLE = "Runtimes"


def plain_session(model):
    """ONNX Runtime with its defaults."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def decoder_feeds(session, ids):
    """A prompt [1, S] and an empty cache."""
    ids = np.asarray(ids, np.int64).reshape(1, -1)
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    for value in session.get_inputs():
        if value.name == "position_ids":
            feeds[value.name] = np.arange(ids.shape[1])[None]
        if value.name.startswith("past_key_values."):
            _, heads, _, size = value.shape
            size = size if isinstance(size, int) else 16  # the GenAI builder leaves it open
            feeds[value.name] = np.zeros((1, heads, 0, size), np.float32)
    return feeds


def check_greedy(model, ids, prompt_length, slack):
    """Each generated token has the largest logit of ONNX Runtime on this file, or one that is less
    by at most `slack` times the logits' range: another release rounds otherwise."""
    assert len(ids) > prompt_length, "nothing was generated"
    session = plain_session(model)
    logits = session.run(["logits"], decoder_feeds(session, ids))[0][0]
    for i in range(prompt_length, len(ids)):
        row = logits[i - 1]
        missing = (row.max() - row[ids[i]]) / (row.max() - row.min())
        told = f"token {i}: {ids[i]} instead of {row.argmax()}, {missing:.2e} less"
        assert missing <= slack, told


def report(line):
    summarize(TITLE, line)
