"""Writes the corpus: tiny exported models of many families, with inputs and expected outputs.

    python export_corpus.py FOLDER [--only PATTERN] [--list] [--derive] [--again]

Each model is exported twice with settings that rotate through the exporters, opsets and options, in a
process of its own; what PyTorch cannot export is noted in FOLDER/not-exported.txt and left out. With
--derive, the usual tools are then run on files that are there already. Needs torch, transformers,
onnx, onnxscript and onnxruntime; timm, diffusers, onnxslim, onnxsim and onnxconverter-common for the
models that use them. tests/interop/test_corpus.py reads the folder.
"""

import argparse
import fnmatch
import os
import pathlib
import random
import shutil
import signal
import sys
import time

import torch
from exporting import OLD_TORCH, Example, Settings, export, randomize, write_io
from families import ENCODERS, SEQUENCE, TEXT
from families_audio import AUDIO
from families_decoders import DECODERS
from families_vision import VISION
from inputs import image, noise, token_ids
from special import SPECIAL
from variants import derive

S = Settings
HALF = "float16"
TS = [
    S(opset=14),
    S(opset=17, attention="eager"),
    S(opset=11, attention="eager"),
    S(opset=18, call=(("output_hidden_states", True),)),
    S(opset=13, static=True, attention="eager"),
    S(opset=20, options=(("do_constant_folding", False),)),
    S(opset=16, dtype=HALF, attention="eager"),
    S(opset=12, attention="eager", call=(("output_attentions", True),)),
    S(opset=19),
    S(opset=15, options=(("keep_initializers_as_inputs", True),)),
]
FUNCTIONS = ("export_modules_as_functions", True)  # up to PyTorch 2.4
OLD = [
    S(opset=15, attention="eager", options=(FUNCTIONS,)),
    S(opset=10, attention="eager"),
    S(opset=13, attention="eager"),
    S(opset=17, attention="sdpa"),
    S(opset=17, attention="eager", options=(FUNCTIONS, ("do_constant_folding", False))),
    S(opset=11, attention="eager", options=(("keep_initializers_as_inputs", True),)),
    S(opset=12, attention="eager", static=True),
]
DYNAMO = [
    S("dynamo", 18),
    S("dynamo", 20, static=True),
    S("dynamo", 21, attention="eager"),
    S("dynamo", 23),
    S("dynamo", 18, options=(("optimize", False),)),
    S("dynamo", 22, options=(("external_data", True),)),
    S("dynamo", 24),
    S("dynamo", 19, dtype=HALF),
    S("dynamo", 20, attention="eager", call=(("output_hidden_states", True),)),
    S("dynamo", 18, dtype="bfloat16"),
    S("dynamo", 23, static=True, attention="eager"),
]
HEADS = ["MaskedLM", "SequenceClassification", "base", "TokenClassification", "MaskedLM"]
DERIVED = [
    ("bert-*", "fusedbert"),
    ("bert-*", "fusedbertfp16"),
    ("roberta-*", "fusedbert"),
    ("distilbert-*", "fusedbert"),
    ("xlm-roberta-*", "fusedbertfp16"),
    ("gpt2-*", "fusedgpt2"),
    ("t5-*", "fusedt5"),
    ("vit-*", "fusedvit"),
    ("bart-*", "fusedbart"),
    ("clip-*", "fusedclip"),
    ("phi-*", "fusedphi"),
    ("unet-*", "fusedunet"),
]
ROTATED = [
    "fp16",
    "ortbasic",
    "slim",
    "ortextended",
    "fp16common",
    "sim",
    "ortall",
    "external",
    "to21",
]


def auto(head):
    import transformers

    if head in ("base", "Backbone"):
        return transformers.AutoModel if head == "base" else transformers.AutoBackbone
    return getattr(transformers, f"AutoModelFor{head}")


def made(name, row, defaults, head, attention):
    """A randomized model from a row of a table."""
    import transformers

    settings = {**defaults, **{k: v for k, v in row.items() if not k.startswith("_")}}
    kind = auto(row.get("_head", head))
    for implementation in (attention, "eager"):
        config = transformers.AutoConfig.for_model(row.get("_type", name), **settings)
        config.use_cache = False
        try:
            return kind.from_config(config, attn_implementation=implementation)
        except ValueError as error:
            last = error
    raise last


def accepted(model, inputs):
    import inspect

    known = inspect.signature(model.forward).parameters
    return {n: t for n, t in inputs.items() if n in known}


def encoder(name, row, turn, settings):
    model = made(name, row, TEXT, HEADS[turn % len(HEADS)], settings.attention)
    ids, mask = token_ids(row.get("_length", 9))
    inputs = dict(input_ids=ids, attention_mask=mask, token_type_ids=torch.zeros_like(ids))
    if row.get("_inputs") == "boxes":
        low = torch.randint(0, 20, (*ids.shape, 2), generator=torch.Generator().manual_seed(5))
        inputs["bbox"] = torch.cat([low, low + 7], -1)
    inputs = accepted(model, inputs)
    if "token_type_ids" in inputs and getattr(model.config, "type_vocab_size", 2) < 2:
        inputs["token_type_ids"].zero_()
    axes = {n: {0: "batch", 1: "sequence"} for n in inputs}
    return Example(model, inputs, axes=axes)


def decoder(name, row, turn, settings):
    model = made(name, row, TEXT, "CausalLM", settings.attention)
    cached = row.get("_cache", True) and turn % 2 == 1
    past = 4 if cached else 0
    ids, mask = token_ids(3 if cached else 9)
    mask = torch.cat([torch.ones(2, past, dtype=torch.int64), mask], 1)
    if cached:
        mask[:] = 1
        mask[1, 0] = 0
    inputs = accepted(model, dict(input_ids=ids, attention_mask=mask))
    if not row.get("_mask", True):
        inputs.pop("attention_mask", None)
    axes = {n: {0: "batch", 1: "sequence"} for n in inputs}
    layers = 0
    if cached:
        axes["attention_mask"] = {0: "batch", 1: "total"}
        shapes = cache_shapes(model, ids)
        layers = len(shapes)
        for i, pair in enumerate(shapes):
            for part, shape in zip(("key", "value"), pair):
                inputs[f"past_key_values.{i}.{part}"] = noise(*shape[:2], past, shape[3])
                axes[f"past_key_values.{i}.{part}"] = {0: "batch", 2: "past"}
    return Example(model, inputs, axes=axes, layers=layers, call=dict(use_cache=bool(cached)))


def cache_shapes(model, ids):
    with torch.no_grad():
        found = model.eval()(input_ids=ids, use_cache=True).past_key_values
    if hasattr(found, "layers"):
        return [(layer.keys.shape, layer.values.shape) for layer in found.layers]
    return [(layer[0].shape, layer[1].shape) for layer in found]


def sequence(name, row, turn, settings):
    model = made(name, row, TEXT, "Seq2SeqLM", settings.attention)
    ids, mask = token_ids(row.get("_length", 9))
    target, _ = token_ids(6, seed=4)
    inputs = dict(input_ids=ids, attention_mask=mask, decoder_input_ids=target)
    axes = {n: {0: "batch", 1: "sequence"} for n in inputs}
    axes["decoder_input_ids"] = {0: "batch", 1: "steps"}
    return Example(model, inputs, axes=axes, call=dict(use_cache=False), outputs=("logits",))


def vision(name, row, turn, settings):
    model = made(name, row, {}, "base", settings.attention)
    size = row.get("_size", 32)
    pixels = image(size, batch=2 - turn % 2)
    if "_frames" in row:
        pixels = torch.stack([pixels] * row["_frames"], 1)
    return Example(model, {row.get("_input", "pixel_values"): pixels})


def audio(name, row, turn, settings):
    model = made(name, row, {}, "base", settings.attention)
    if "_features" in row:
        features = noise(2, row.get("_frames", 24), row["_features"])
        return Example(model, {row.get("_input", "input_values"): features})
    samples = noise(2, 400)
    return Example(model, dict(input_values=samples))


def special(name, build, turn, settings):
    return build()


TABLES = [
    ("text encoders", ENCODERS, encoder),
    ("decoders", DECODERS, decoder),
    ("encoder-decoders", SEQUENCE, sequence),
    ("vision", VISION, vision),
    ("audio", AUDIO, audio),
    ("special", SPECIAL, special),
]


def jobs():
    """(folder name, what run_job takes), in an order that visits all families early."""
    found = []
    for lists in (OLD,) if OLD_TORCH else (TS, DYNAMO):
        turn = 0
        for _, table, make in TABLES:
            for name, row in table.items():
                if isinstance(row, dict) and "_skip" in row:
                    continue
                settings = lists[turn % len(lists)]
                if make is special or make is vision and settings.call:
                    settings = Settings(**{**vars(settings), "call": ()})
                turn += 1
                found.append((f"{name}-{settings.label()}", (name, row, make, turn, settings)))
    random.Random(7).shuffle(found)
    return found


def run_job(job, folder):
    name, row, make, turn, settings = job
    torch.manual_seed(0)
    example = make(name, row, turn, settings)
    randomize(example.model)
    example.model.eval()
    if settings.attention == "eager" and hasattr(example.model, "set_attn_implementation"):
        example.model.set_attn_implementation("eager")
    feeds = {n: t.numpy() for n, t in example.inputs.items()}
    if settings.dtype != "float32":
        convert = "float16" if settings.dtype == HALF else None
        if convert:
            feeds = {n: a.astype(convert) if a.dtype.kind == "f" else a for n, a in feeds.items()}
        elif any(a.dtype.kind == "f" for a in feeds.values()):
            raise RuntimeError("bfloat16 inputs cannot be stored")
    export(example, settings, folder / "model.onnx")
    write_io(folder / "model.onnx", feeds)


def run_derived(source, variant, folder):
    import numpy as np

    target = derive(source, variant, folder)
    with np.load(folder / "io.npz") as arrays:
        feeds = {n[3:]: arrays[n] for n in arrays.files if n.startswith("in.")}
    write_io(target, feeds)


def in_child(work, seconds):
    """Runs in a forked process; returns the error as text, or None."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        signal.alarm(seconds)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        message = "ok"
        try:
            work()
        except BaseException as error:  # noqa: BLE001 (whatever a tool raises is the result)
            message = f"{type(error).__name__}: {error}".replace("\n", " ")[:400]
        os.write(write, message.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        message = pipe.read().decode()
    os.waitpid(child, 0)
    return None if message == "ok" else message or f"killed, or longer than {seconds} s"


def finish(name, part, out, error, started):
    if error is None:
        part.rename(out / name)
        print(f"{time.time() - started:5.1f} s  {name}", flush=True)
        return
    shutil.rmtree(part, ignore_errors=True)
    print(f"{time.time() - started:5.1f} s  {name}: {error}", flush=True)
    with open(out / "not-exported.txt", "a") as log:
        log.write(f"{name}: {error}\n")


def derived_jobs(out):
    exported = sorted(p.parent.name for p in out.glob("*/model.onnx") if "+" not in p.parent.name)
    for pattern, variant in DERIVED:
        for name in fnmatch.filter(exported, pattern):
            yield name, variant
    for turn, name in enumerate(exported):
        yield name, ROTATED[turn % len(ROTATED)]


def warm_up(out):
    """Loads what every export needs once, before the forks."""
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    import transformers

    transformers.AutoModelForCausalLM  # noqa: B018 (loaded lazily)
    for settings in (S(),) if OLD_TORCH else (S(), S("dynamo", 20)):
        example = Example(torch.nn.Linear(4, 4), dict(input=torch.ones(2, 4)))
        export(example, settings, out / f".warm-{os.getpid()}" / "model.onnx")
    shutil.rmtree(out / f".warm-{os.getpid()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--only", default="*", help="glob of names")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--derive", action="store_true")
    parser.add_argument("--again", action="store_true", help="also what failed before")
    parser.add_argument("--seconds", type=int, default=150, help="limit for one model")
    parser.add_argument("--suffix", default="", help="end of the folders' names")
    options = parser.parse_args()
    out = options.folder
    out.mkdir(parents=True, exist_ok=True)
    if options.derive:
        work = [
            (f"{n}+{v}", lambda folder, n=n, v=v: run_derived(out / n, v, folder))
            for n, v in derived_jobs(out)
        ]
    else:
        work = [(n, lambda folder, job=job: run_job(job, folder)) for n, job in jobs()]
    failed = out / "not-exported.txt"
    known = failed.read_text() if failed.exists() and not options.again else ""
    torch.set_num_threads(1)
    if not options.list and not options.derive:
        warm_up(out)
    for name, job in work:
        name += options.suffix
        if not fnmatch.fnmatch(name, options.only) or f"{name}:" in known:
            continue
        if options.list:
            print(name)
        elif not (out / name).exists():
            part = out / f".{name}.part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            started = time.time()
            finish(name, part, out, in_child(lambda: job(part), options.seconds), started)


if __name__ == "__main__":
    sys.exit(main())
