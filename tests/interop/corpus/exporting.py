"""Turns a PyTorch module into an ONNX file with inputs and expected outputs beside it."""

import contextlib
import dataclasses
import io
import logging
import pathlib
import warnings

import numpy as np
import torch

# Before the dynamo exporter; torch.onnx.export has export_modules_as_functions then.
OLD_TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 5)


@dataclasses.dataclass
class Example:
    """A module and what it is called with: tensors by name, in the order of the call."""

    model: torch.nn.Module
    inputs: dict
    call: dict = dataclasses.field(default_factory=dict)  # further keyword arguments
    # Which dimensions vary: {input: {dimension: name}}; by default dimension 0 is the batch.
    axes: dict = dataclasses.field(default_factory=dict)
    layers: int = 0  # of a cache that the inputs past_key_values.N.key and .value fill
    outputs: tuple = ()  # only these, by name; by default all tensors


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to export: `ts` is torch.onnx.export(dynamo=False)."""

    exporter: str = "ts"
    opset: int = 17
    static: bool = False
    dtype: str = "float32"
    attention: str = "sdpa"
    options: tuple = ()  # further arguments of torch.onnx.export, as (name, value)
    call: tuple = ()  # further arguments of the model, as (name, value)

    def label(self):
        parts = [f"{self.exporter}{self.opset}"]
        parts += ["static"] * self.static + ["eager"] * (self.attention == "eager")
        parts += [] if self.dtype == "float32" else [self.dtype]
        parts += [name.replace("_", "") + ("" if v is True else str(v)) for name, v in self.options]
        return "-".join(parts + [name.removeprefix("output_") for name, _ in self.call])


def randomize(model, seed=0):
    """Weights that make every layer matter: matrices keep the variance, the rest is perturbed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator).to(p.dtype)
            if p.dim() >= 2:
                p.copy_(noise * (1.2 / max(np.prod(p.shape[1:]), 1) ** 0.5))
            else:
                p.add_(0.1 * noise)


def tensors_of(value, name):
    """(name, tensor) of everything inside a model's output."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif hasattr(value, "self_attention_cache"):
        yield from tensors_of(value.self_attention_cache, name + ".decoder")
        yield from tensors_of(value.cross_attention_cache, name + ".encoder")
    elif hasattr(value, "layers"):  # a cache of transformers 5
        for i, layer in enumerate(value.layers):
            for part in ("keys", "values", "conv_states", "recurrent_states", "ssm_states"):
                tensor = getattr(layer, part, None)
                if isinstance(tensor, torch.Tensor):
                    yield f"present.{i}.{part.removesuffix('s')}", tensor
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from tensors_of(part, str(key))
    elif isinstance(value, (tuple, list)):
        for i, part in enumerate(value):
            yield from tensors_of(part, f"{name}.{i}")


class Flat(torch.nn.Module):
    """The model as a function from tensors to a tuple of tensors."""

    def __init__(self, example):
        super().__init__()
        self.model = example.model
        self.example = example
        self.names = None

    def run(self, *arguments):
        named = dict(zip(self.example.inputs, arguments))
        kept = {n: t for n, t in named.items() if not n.startswith("past_key_values.")}
        if self.example.layers:
            kept["past_key_values"] = cache_of(named, self.example.layers, self.model)
        found = self.model(**kept, **self.example.call)
        flat, seen = [], set()
        for name, tensor in tensors_of(found, "output"):
            wanted = not self.example.outputs or name in self.example.outputs
            if wanted and id(tensor) not in seen:
                seen.add(id(tensor))
                flat.append((name, tensor))
        taken = set()
        self.names = []
        for name, _ in flat:
            while name in taken:
                name += "_"
            taken.add(name)
            self.names.append(name)
        return tuple(tensor for _, tensor in flat)


def cache_of(named, layers, model):
    from transformers import DynamicCache

    pairs = [
        (named[f"past_key_values.{i}.key"], named[f"past_key_values.{i}.value"])
        for i in range(layers)
    ]
    if not hasattr(DynamicCache(), "layers"):
        return DynamicCache.from_legacy_cache(tuple(pairs))
    cache = DynamicCache(config=getattr(model, "config", None))
    for i, (key, value) in enumerate(pairs):
        cache.update(key, value, i)
    return cache


def flat_module(example):
    """A Flat whose forward names its arguments, as the dynamo exporter wants it."""
    names = [n.replace(".", "_") for n in example.inputs]
    scope = {}
    source = f"def forward(self, {', '.join(names)}):\n    return self.run({', '.join(names)})\n"
    exec(source, scope)  # noqa: S102 (a signature cannot be made otherwise)
    return type("Flat", (Flat,), {"forward": scope["forward"]})(example).eval()


@contextlib.contextmanager
def quiet():
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def export(example, settings, path):
    """Writes the ONNX file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dtype = getattr(torch, settings.dtype)
    if dtype != torch.float32:
        example.model.to(dtype)
        example.inputs = {
            n: t.to(dtype) if t.is_floating_point() else t for n, t in example.inputs.items()
        }
    example.call = {**example.call, **dict(settings.call)}
    module = flat_module(example)
    with torch.no_grad(), quiet():
        module(*example.inputs.values())
        arguments = dict(
            input_names=list(example.inputs),
            output_names=module.names,
            opset_version=settings.opset,
            **dict(settings.options),
        )
        axes = {} if settings.static else axes_of(example)
        if settings.exporter == "dynamo":
            arguments["dynamo"] = True
            arguments.setdefault("external_data", False)
            if axes:
                arguments["dynamic_shapes"] = dynamic_shapes(example, axes)
        else:
            arguments["dynamic_axes"] = axes
            if not OLD_TORCH:
                arguments["dynamo"] = False
        torch.onnx.export(module, tuple(example.inputs.values()), str(path), **arguments)


def axes_of(example):
    return example.axes or {name: {0: "batch"} for name in example.inputs}


def dynamic_shapes(example, axes):
    dims = {}
    result = {}
    for name in example.inputs:
        result[name.replace(".", "_")] = {
            d: dims.setdefault(n, torch.export.Dim.DYNAMIC) for d, n in axes.get(name, {}).items()
        } or None
    return result


def write_io(path, inputs):
    """Stores inputs and what ONNX Runtime gives for them with every graph optimisation off."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    wanted = {v.name for v in session.get_inputs()}
    feeds = {n: a for n, a in inputs.items() if n in wanted}
    names = [v.name for v in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, feeds)))
    if any(a.dtype.kind == "f" and np.isnan(a).any() for a in outputs.values()):
        raise RuntimeError("the outputs are no numbers")
    arrays = {f"in.{n}": a for n, a in feeds.items()} | {f"out.{n}": a for n, a in outputs.items()}
    np.savez(pathlib.Path(path).parent / "io.npz", **arrays)
    return outputs
