"""`quantize eval` of directories of models that make each other's inputs, against the same chains
computed here with ONNX Runtime."""

import json
import shutil

import numpy as np
import onnx
import pytest

pytest.importorskip("onnxruntime")
from eval_figures import (  # noqa: E402
    ROUND_TO_NEAREST,
    agree,
    evaluated,
    vector_figures,
    write_ids,
)
from eval_language import LanguageSums, value  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from quantize_cli import QUANTIZE, quantize, quantized, run_session, session  # noqa: E402
from small_models import (  # noqa: E402
    VOCABULARY,
    Builder,
    encoder,
    encoder_decoder,
    with_heads,
    word_tokenizer,
)

pytestmark = pytest.mark.skipif(
    not QUANTIZE.exists(), reason=f"{QUANTIZE} is absent: build it, or set PTQ_BUILD_DIR"
)

START = 7


def rows_of(count, seed=31):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 92, rng.integers(2, 14)).tolist() for _ in range(count)]


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """An encoder and two decoders, and the same with 4 bits."""
    source = tmp_path_factory.mktemp("t5") / "source"
    source.mkdir()
    for name, model in encoder_decoder().items():
        onnx.save(model, source / f"{name}.onnx")
    (source / "config.json").write_text(json.dumps({"decoder_start_token_id": START}))
    word_tokenizer(source / "tokenizer.json")
    out = source.parent / "out"
    quantized(source, out, *ROUND_TO_NEAREST, "--bits", 4, "--group-size", 32)
    return source, out


class Chain:
    """Encoder, decoder and decoder with a past of one directory, in ONNX Runtime."""

    def __init__(self, folder):
        names = ("encoder_model", "decoder_model", "decoder_with_past_model")
        self.encoder, self.decoder, self.then = (session(folder / f"{n}.onnx") for n in names)

    def states(self, source):
        ids = np.array([source], np.int64)
        return run_session(self.encoder, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[
            "last_hidden_state"
        ]

    def forced(self, source, target):
        """Logits in front of every token of the target, and the caches behind it."""
        made = run_session(self.decoder, {
            "input_ids": np.array([[START, *target[:-1]]], np.int64),
            "encoder_attention_mask": np.ones((1, len(source)), np.int64),
            "encoder_hidden_states": self.states(source),
        })  # fmt: skip
        return made["logits"][0], made

    def last(self, source, target):
        """Logits in front of the last token, which is read behind the caches of those before."""
        _, made = self.forced(source, target[:-1])
        past = {n.replace("present", "past_key_values"): a for n, a in made.items() if n != "logits"}
        return run_session(self.then, {
            "input_ids": np.array([[target[-2]]], np.int64),
            "encoder_attention_mask": np.ones((1, len(source)), np.int64), **past,
        })["logits"][0]  # fmt: skip


def of_part(found, name):
    return next(part for part in found["models"] if part["file"].endswith(f"{name}.onnx"))


def chain_figures(out, source, pairs):
    """Of the decoder, of the decoder with a past, and of both together."""
    own, other = Chain(out), Chain(source)
    first, then, both = LanguageSums(), LanguageSums(), LanguageSums()
    for text, target in pairs:
        one = own.forced(text, target)[0], other.forced(text, target)[0], target
        two = own.last(text, target), other.last(text, target), target[-1:]
        for sums, some in ((first, [one]), (then, [two]), (both, [one, two])):
            for arguments in some:
                sums.add(*arguments)
    return first.figures(), then.figures(), both.figures()


def check_chain(title, found, t5, pairs):
    first, then, both = chain_figures(t5[1], t5[0], pairs)
    agree(f"{title}, decoder", of_part(found, "decoder_model"), first)
    agree(f"{title}, decoder with a past", of_part(found, "decoder_with_past_model"), then)
    agree(f"{title}, in all", found, both)
    vectors = []
    for folder in (t5[1], t5[0]):
        chain = Chain(folder)
        vectors.append(np.array([chain.states(text)[0].astype(float).mean(0) for text, _ in pairs]))
    figures = vector_figures(*vectors)
    agree(f"{title}, encoder", of_part(found, "encoder_model"), figures)


def test_a_text_is_its_own_target(t5, tmp_path):
    source, out = t5
    rows = rows_of(14)
    ids = write_ids(tmp_path / "ids.npz", rows)
    found = evaluated(out, "--against", source, "--text", ids)
    assert found["task"] == "lm" and len(found["models"]) == 3
    assert "teacher-forced" in of_part(found, "decoder_model")["reading"]
    check_chain("encoder-decoder on texts", found, t5, [(row, row) for row in rows])


@pytest.mark.parametrize("form", ["pairs.jsonl", "pairs.tsv", "named.tsv"])
def test_sources_with_targets(t5, tmp_path, form):
    source, out = t5
    texts = list(zip(rows_of(14, 32), rows_of(14, 33)))
    words = lambda ids: " ".join(f"w{i}" for i in ids)  # noqa: E731
    if form.endswith(".jsonl"):
        lines = [json.dumps({"source": words(a), "target": words(b)}) for a, b in texts]
    else:
        lines = ["source\ttarget"] if form == "named.tsv" else []
        lines += [f"{words(a)}\t{words(b)}" for a, b in texts]
    (tmp_path / form).write_text("\n".join(lines) + "\n")
    found = evaluated(out, "--against", source, "--text", tmp_path / form)
    assert of_part(found, "decoder_model")["texts"] == 14
    pairs = [([93, *a, 94], [93, *b, 94]) for a, b in texts]
    check_chain(f"encoder-decoder, {form}", found, t5, pairs)


def test_one_decoder_finds_what_stands_beside_it(t5, tmp_path):
    source, out = t5
    (tmp_path / "texts.txt").write_text("w1 w2 w3 w4\nw9 w8 w7\n")
    name = "decoder_model.onnx"
    options = ["--text", tmp_path / "texts.txt", "--tokenizer", source]
    found = evaluated(out / name, "--against", source / name, *options)
    texts = [[93, 1, 2, 3, 4, 94], [93, 9, 8, 7, 94]]
    expected = chain_figures(out, source, [(text, text) for text in texts])[0]
    agree("decoder by itself", found, expected)
    assert "models" not in found


def test_a_decoder_is_fed_by_models_of_its_own_form(t5, tmp_path):
    """decoder_model_q4.onnx by encoder_model_q4.onnx, although encoder_model.onnx is there, too."""
    source, out = t5
    folder = tmp_path / "both"
    shutil.copytree(source, folder)
    for name in ("encoder_model", "decoder_model"):
        model = onnx.load(out / f"{name}.onnx")
        onnx.save(model, folder / f"{name}_q4.onnx")
    ids = write_ids(tmp_path / "ids.npz", rows_of(3))
    whole, same = (
        evaluated(model, "--text", ids)
        for model in (out / "decoder_model.onnx", folder / "decoder_model_q4.onnx")
    )
    assert same["perplexity"] == pytest.approx(whole["perplexity"], rel=1e-9)


def test_an_encoder_decoder_writes(t5, tmp_path):
    source, _ = t5
    chain = Chain(source)
    prompt, written = [93, 4, 5, 6, 94], []
    for _ in range(5):
        logits, _ = chain.forced(prompt, [*written, 0])
        written.append(int(logits[-1].argmax()))
    answer = " ".join(f"w{i}" for i in written if i < 92)
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text(json.dumps({"prompt": "w4 w5 w6", "answer": answer}) + "\n")
    found = evaluated(source, "--task-file", tasks, "--max-new-tokens", 5)
    assert (found["exact_match"], found["tokens"]) == (1, 5)


def in_one_file(models):
    """Encoder and decoder as one model, which reads input_ids and decoder_input_ids."""
    whole = onnx.compose.add_prefix(models["encoder_model"], "e/", rename_inputs=False)
    behind = onnx.compose.add_prefix(models["decoder_model"], "d/", rename_inputs=False)
    behind = onnx.compose.add_prefix(behind, "", rename_edges=False)
    rename = {"input_ids": "decoder_input_ids", "encoder_hidden_states": "e/last_hidden_state",
              "encoder_attention_mask": "attention_mask", "d/logits": "logits"}  # fmt: skip
    for node in behind.graph.node:
        node.input[:] = [rename.get(name, name) for name in node.input]
        node.output[:] = [rename.get(name, name) for name in node.output]
    shape = ["b", "t"]
    graph = helper.make_graph(
        [*whole.graph.node, *behind.graph.node], "g",
        [value(n, shape, TensorProto.INT64) for n in ("input_ids", "attention_mask")]
        + [value("decoder_input_ids", ["b", "d"], TensorProto.INT64)],
        [value("logits", ["b", "d", VOCABULARY])],
        [*whole.graph.initializer, *behind.graph.initializer],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=whole.opset_import, ir_version=10)


def test_encoder_and_decoder_in_one_file(t5, tmp_path):
    source, _ = t5
    folder = tmp_path / "whole"
    folder.mkdir()
    onnx.save(in_one_file(encoder_decoder()), folder / "model.onnx")
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(source / name, folder / name)
    texts = list(zip(rows_of(8, 52), rows_of(8, 53)))
    words = lambda ids: " ".join(f"w{i}" for i in ids)  # noqa: E731
    lines = [f"{words(a)}\t{words(b)}\n" for a, b in texts]
    (tmp_path / "pairs.tsv").write_text("".join(lines))
    found = evaluated(folder, "--text", tmp_path / "pairs.tsv")
    pairs = [([93, *a, 94], [93, *b, 94]) for a, b in texts]
    expected = chain_figures(source, source, pairs)[0]
    agree("encoder and decoder in one", found, {n: expected[n] for n in ("tokens", "perplexity")})


# ---- Parts of a decoder, and two encoders -------------------------------------------------------


def embedder():
    rng = np.random.default_rng(2)
    table = numpy_helper.from_array(rng.standard_normal((VOCABULARY, 64)).astype(np.float32), "t")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["t", "input_ids"], ["inputs_embeds"])], "g",
        [value("input_ids", ["b", "t"], TensorProto.INT64)],
        [value("inputs_embeds", ["b", "t", 64])], [table],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def decoder_of_embeddings():
    b = Builder(seed=4)
    h = b.node("Relu", [b.linear("inputs_embeds", 96, 64, "up_proj")])
    h = b.node("Add", ["inputs_embeds", b.linear(h, 64, 96, "down_proj")])
    head = b.weight((64, VOCABULARY), "lm_head.weight")
    b.nodes.append(helper.make_node("MatMul", [h, head], ["logits"], name="/lm_head/MatMul"))
    logits = value("logits", ["b", "t", VOCABULARY])
    return b.model([value("inputs_embeds", ["b", "t", 64])], [logits])


def vision():
    b = Builder(seed=6)
    b.constant(np.array([0, -1], np.int64), "flat")
    x = b.node("Reshape", ["pixel_values", "flat"])
    weight = b.weight((3 * 8 * 8, 48), "visual_projection.weight", 0.1)
    b.nodes.append(helper.make_node("MatMul", [x, weight], ["image_embeds"], name="/vp/MatMul"))
    return b.model([value("pixel_values", ["b", 3, 8, 8])], [value("image_embeds", ["b", 48])])


def directory_of(folder, **models):
    folder.mkdir()
    for name, model in models.items():
        onnx.save(model, folder / f"{name}.onnx")
    word_tokenizer(folder / "tokenizer.json")
    out = folder.parent / "out"
    quantized(folder, out, *ROUND_TO_NEAREST, "--bits", 4, "--group-size", 32)
    return folder, out


def test_embeddings_and_a_decoder(tmp_path):
    models = {"embed_tokens": embedder(), "decoder_model_merged": decoder_of_embeddings()}
    source, out = directory_of(tmp_path / "source", **models)
    rows = rows_of(12)
    ids = write_ids(tmp_path / "ids.npz", rows)
    sums = LanguageSums()
    for row in rows:
        logits = []
        for folder in (out, source):
            embed, decode = (session(folder / f"{name}.onnx") for name in models)
            states = run_session(embed, {"input_ids": np.array([row], np.int64)})
            logits.append(run_session(decode, states)["logits"][0, :-1])
        sums.add(*logits, row[1:])
    found = evaluated(out, "--against", source, "--text", ids)
    agree("embed_tokens and decoder", found, sums.figures())
    windows = ["--seq-len", 4, "--stride", 2]
    moving = evaluated(out, "--against", source, "--text", ids, *windows)
    assert moving["tokens"] == found["tokens"]
    # The decoder looks at one token alone, so the windows change nothing.
    assert moving["perplexity"] == pytest.approx(found["perplexity"], rel=1e-6)
    assert "--stride" in of_part(moving, "embed_tokens")["note"]
    one = evaluated(out / "decoder_model_merged.onnx", "--text", ids)
    assert one["perplexity"] == pytest.approx(found["perplexity"], rel=1e-9)


def test_text_and_vision(tmp_path):
    text = with_heads(encoder(), {"text_embeds": ("first", 48)})
    source, out = directory_of(tmp_path / "source", text_model=text, vision_model=vision())
    rows = rows_of(15)
    ids = write_ids(tmp_path / "ids.npz", rows)
    found = evaluated(out, "--against", source, "--text", ids)
    assert (found["task"], found["output"]) == ("embed", "text_embeds")
    vectors = []
    for folder in (out, source):
        s = session(folder / "text_model.onnx")
        feeds = [{n: np.array([r], np.int64) for n in ("input_ids", "attention_mask")} for r in rows]
        for feed in feeds:
            feed["attention_mask"] = np.ones_like(feed["input_ids"])
        vectors.append(np.array([s.run(["text_embeds"], f)[0][0] for f in feeds], np.float64))
    agree("text model beside a vision model", found, vector_figures(*vectors))
    assert "pixel_values" in of_part(found, "vision_model")["note"]
    images = np.random.default_rng(5).standard_normal((13, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "images.npz", pixel_values=images)
    seen = evaluated(out, "--against", source, "--text", tmp_path / "images.npz")
    vectors = [
        session(folder / "vision_model.onnx").run(["image_embeds"], {"pixel_values": images})[0]
        for folder in (out, source)
    ]
    agree("vision model", of_part(seen, "vision_model"), vector_figures(*map(np.float64, vectors)))


def listener():
    """What the encoder of a speech model reads: input_features [b, t, 64]."""
    b = Builder(seed=9)
    h = b.node("Tanh", [b.linear("input_features", 64, 64, "up_proj")])
    weight = b.weight((64, 64), "down_proj.weight")
    b.nodes.append(helper.make_node("MatMul", [h, weight], ["last_hidden_state"], name="/down"))
    shape = ["b", "t", 64]
    return b.model([value("input_features", shape)], [value("last_hidden_state", shape)])


def test_complete_inputs_of_a_speech_model(tmp_path):
    """What the encoder reads, and the decoder's tokens, are arrays of a file."""
    decoder = encoder_decoder()["decoder_model"]
    source, out = directory_of(tmp_path / "source", encoder_model=listener(), decoder_model=decoder)
    rng = np.random.default_rng(6)
    sounds = rng.standard_normal((5, 9, 64)).astype(np.float32)
    tokens = rng.integers(0, 92, (5, 6))
    np.savez(tmp_path / "feeds.npz", input_features=sounds, decoder_input_ids=tokens)
    found = evaluated(out, "--against", source, "--text", tmp_path / "feeds.npz")
    sums = LanguageSums()
    for sound, row in zip(sounds, tokens):
        logits = []
        for folder in (out, source):
            encode, decode = (session(folder / f"{n}_model.onnx") for n in ("encoder", "decoder"))
            states = run_session(encode, {"input_features": sound[None]})["last_hidden_state"]
            made = run_session(decode, {
                "input_ids": row[None], "encoder_hidden_states": states,
                "encoder_attention_mask": np.ones((1, 9), np.int64),
            })  # fmt: skip
            logits.append(made["logits"][0, :-1])
        sums.add(*logits, row[1:])
    agree("speech model", of_part(found, "decoder_model"), sums.figures())


def test_a_directory_of_which_nothing_can_be_judged(tmp_path):
    source, _ = directory_of(tmp_path / "source", vision_model=vision(), audio_model=vision())
    ids = write_ids(tmp_path / "ids.npz", rows_of(3))
    done = quantize("eval", source, "--against", source, "--text", ids)
    assert done.returncode == 4 and "pixel_values" in done.stderr
