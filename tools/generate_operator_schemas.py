#!/usr/bin/env python3
"""Writes src/emit/operator_schemas.inc: what each version of an ai.onnx operator may look like.

    tools/generate_operator_schemas.py > src/emit/operator_schemas.inc

Needs the Python package onnx. The line of a version that an older line describes as well is left out.
"""

import textwrap

import onnx
from onnx import defs

HEADER = """\
// Written by tools/generate_operator_schemas.py from the schemas of onnx, up to opset {opset}.
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
    parts = []
    for index, formal in enumerate(formals):
        repeats = formal.option == defs.OpSchema.FormalParameterOption.Variadic
        suffix = "" if not repeats else "*" if formal.is_homogeneous else "+"
        # A type that is spelled out, such as tensor(int64), binds nothing.
        name = formal.type_str if "(" not in formal.type_str else f"_{index}"
        parts.append(f"{name}:{mask(formal.types):x}{suffix}")
    return " ".join(parts)


def description(schema):
    if schema.deprecated:
        return ("-1", "-1", "", ">")
    attributes = " ".join(
        f"{name}:{LETTERS[attribute.type.name]}{'!' if attribute.required else ''}"
        for name, attribute in sorted(schema.attributes.items())
    )
    most = schema.max_input if schema.max_input < 2**31 - 1 else 9999
    forms = f"{parameters(schema.inputs)} > {parameters(schema.outputs)}".strip()
    return (str(schema.min_input), str(most), attributes, forms)


def literal(text):
    """A C string in lines of at most 100 columns."""
    lines = textwrap.wrap(text, 80, drop_whitespace=False) or [""]
    return "\n".join(f'           "{line}"' for line in lines)


def main():
    print(HEADER.format(opset=defs.onnx_opset_version()), end="")
    schemas = [s for s in defs.get_all_schemas_with_history() if s.domain == ""]
    before = {}
    for schema in sorted(schemas, key=lambda s: (s.name, s.since_version)):
        least, most, attributes, forms = line = description(schema)
        if before.get(schema.name) == line:
            continue
        before[schema.name] = line
        print(f'PTQ_SCHEMA("{schema.name}", {schema.since_version}, {least}, {most},')
        print(f"{literal(attributes)},\n{literal(forms)})")


if __name__ == "__main__":
    main()
