#!/usr/bin/env python3
"""Writes the tables of src/model: what each version of an operator may look like.

    tools/generate_operator_schemas.py > src/model/operator_schemas.inc
    tools/generate_operator_schemas.py --contrib > src/model/contrib_schemas.inc

The first are those of ai.onnx, by the Python package onnx. The line of a version that an older line
describes as well is left out. The second are ONNX Runtime's own, by the package onnxruntime.
"""

import sys
import textwrap

import onnx
from onnx import defs

HEADER = """\
// Written by tools/generate_operator_schemas.py from the schemas of {origin}.
// PTQ_SCHEMA(operator, since, least inputs, most inputs, attributes, inputs > outputs)
// Attributes: name:type, with a ! where it is required; types are i f s t g and, for lists, I F S T G.
// Inputs and outputs: type parameter:mask, with a bit for each element type (TensorProto.DataType),
// 0 for what is no tensor; a * behind the last one that repeats with one type, + with types of its own.
"""

LETTERS = {
    "INT": "i", "FLOAT": "f", "STRING": "s", "TENSOR": "t", "GRAPH": "g", "SPARSE_TENSOR": "p",
    "TYPE_PROTO": "y", "INTS": "I", "FLOATS": "F", "STRINGS": "S", "TENSORS": "T", "GRAPHS": "G",
}  # fmt: skip
NAMES = {"float": "FLOAT", "float16": "FLOAT16", "double": "DOUBLE"}


# An operator of ONNX Runtime that lives in the standard domain.
FOREIGN = "SimplifiedLayerNormalization"


def mask(types):
    """0 unless all are tensors."""
    bits = 0
    for text in types:
        if not text.startswith("tensor("):
            return 0
        name = text[len("tensor(") : -1]
        bits |= 1 << onnx.TensorProto.DataType.Value(NAMES.get(name, name.upper()))
    return bits


def parameters(formals):
    """Each of `formals`: type, names of the types it may be, whether it repeats, and with one type."""
    parts = []
    for index, (type_str, types, repeats, homogeneous) in enumerate(formals):
        suffix = "" if not repeats else "*" if homogeneous else "+"
        # A type that is spelled out, such as tensor(int64), binds nothing.
        name = type_str if "(" not in type_str else f"_{index}"
        parts.append(f"{name}:{mask(types):x}{suffix}")
    return " ".join(parts)


def of_onnx(formals):
    variadic = defs.OpSchema.FormalParameterOption.Variadic
    return [(f.type_str, f.types, f.option == variadic, f.is_homogeneous) for f in formals]


def of_onnxruntime(formals):
    variadic = "Variadic"
    return [(f.typeStr, f.types, f.option.name == variadic, f.isHomogeneous) for f in formals]


def description(schema, formals):
    if schema.deprecated:
        return ("-1", "-1", "", ">")
    attributes = " ".join(
        f"{name}:{LETTERS[attribute.type.name]}{'!' if attribute.required else ''}"
        for name, attribute in sorted(schema.attributes.items())
    )
    most = schema.max_input if schema.max_input < 2**31 - 1 else 9999
    forms = f"{parameters(formals(schema.inputs))} > {parameters(formals(schema.outputs))}".strip()
    return (str(schema.min_input), str(most), attributes, forms)


def literal(text):
    """A C string in lines of at most 100 columns."""
    lines = textwrap.wrap(text, 80, drop_whitespace=False) or [""]
    return "\n".join(f'           "{line}"' for line in lines)


def write(schemas, formals, origin):
    print(HEADER.format(origin=origin), end="")
    before = {}
    for schema in sorted(schemas, key=lambda s: (s.name, s.since_version)):
        least, most, attributes, forms = line = description(schema, formals)
        if before.get(schema.name) == line:
            continue
        before[schema.name] = line
        print(f'PTQ_SCHEMA("{schema.name}", {schema.since_version}, {least}, {most},')
        print(f"{literal(attributes)},\n{literal(forms)})")


def main():
    if sys.argv[1:] == ["--contrib"]:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as runtime

        schemas = [
            s
            for s in runtime.get_all_operator_schema()
            if s.domain == "com.microsoft" or (s.domain == "" and s.name == FOREIGN)
        ]
        write(schemas, of_onnxruntime, f"onnxruntime {onnxruntime.__version__} (com.microsoft)")
        return
    schemas = [s for s in defs.get_all_schemas_with_history() if s.domain == ""]
    write(schemas, of_onnx, f"onnx, up to opset {defs.onnx_opset_version()}")


if __name__ == "__main__":
    main()
