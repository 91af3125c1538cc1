"""`python -m quantize_onnx` and the command `quantize`: this process becomes the program."""

import os
import sys

from quantize_onnx import program


def main() -> None:
    path = program()
    try:
        os.execv(path, ["quantize", *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"quantize: cannot run '{path}': {error.strerror}")


if __name__ == "__main__":
    main()
