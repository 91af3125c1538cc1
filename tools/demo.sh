#!/bin/bash
# Installs what is missing, builds, quantizes the demo model, and shows quality and size before and
# after; can be run again. Works in build/demo; takes a few minutes, nearly all of it the build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/setup.sh

ptq_step "Packages"
ptq_install build

ptq_step "Release build"
cmake --preset release -DPTQ_TESTS=OFF
cmake --build build/release --parallel "$(ptq_jobs)" --target quantize
quantize=build/release/tools/quantize/quantize
