#!/bin/bash
# Runs the runtimes that people use on models that were quantized here; can be run again.
#   tools/runtimes.sh [pytest arguments]
#   tools/runtimes.sh --install        only installs them
# Installs ONNX Runtime (oldest and newest), ONNX Runtime GenAI, OpenVINO and transformers.js, all
# pinned in tests/interop/runtimes, into build/runtimes, and Debian's Chromium. Needs the program: PTQ_BUILD_DIR, or
# build/release as tools/test.sh makes it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/setup.sh

folder=$PWD/build/runtimes
tests=tests/interop/runtimes
mkdir -p "$folder"

install_python() {  # NAME
  local requirements=$tests/requirements-$1.txt venv=$folder/$1
  if cmp -s "$requirements" "$venv/requirements.installed"; then return 0; fi
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    -r "$requirements"
  cp "$requirements" "$venv/requirements.installed"
}

# The packages' own install scripts fetch accelerators' libraries from elsewhere; the processor's
# are in the packages.
install_node() {
  local npm=$folder/npm
  if cmp -s "$tests/package-lock.json" "$npm/installed.json"; then return 0; fi
  mkdir -p "$npm"
  cp "$tests"/package.json "$tests"/package-lock.json "$npm"
  npm ci --prefix "$npm" --ignore-scripts --no-audit --no-fund --loglevel=error
  cp "$tests/package-lock.json" "$npm/installed.json"
}

ptq_step "Packages"
ptq_install runtimes

ptq_step "Runtimes (build/runtimes)"
install_python oldest
install_python newest
install_node
if [ "${1:-}" = --install ]; then exit 0; fi

export PTQ_BUILD_DIR=${PTQ_BUILD_DIR:-$PWD/build/release} PTQ_NODE_FOLDER=$folder/npm
run() {  # NAME PYTEST_ARGUMENTS...
  local python=$folder/$1/bin/python
  shift
  "$python" -m pytest -q -ra --durations=3 -p no:cacheprovider "$@"
}

ptq_step "ONNX Runtime, oldest: formats, forms of product, demo model"
run oldest tests/interop/test_formats.py::test_product_equals_dequantized_weights \
  tests/interop/test_small_models.py::test_every_form_of_product{,_in_fp16} \
  $tests/test_onnxruntime.py "$@" 2>&1 | tee build/pytest-oldest.log || failed=1
ptq_step "ONNX Runtime, newest; GenAI; OpenVINO; transformers.js"
run newest $tests "$@" 2>&1 | tee build/pytest-runtimes.log || failed=1

ptq_step "Done"
tail -qn 1 build/pytest-oldest.log build/pytest-runtimes.log
exit "${failed:-0}"
