#!/bin/bash
# Installs what is missing, builds, and runs every test; can be run again.
#   tools/test.sh [pytest arguments]
# Debian packages are named before they are installed (tools/setup.sh); Python packages, pinned in
# tests/interop/requirements.txt, go into build/venv. Tests that need the models of ../shared (or
# PTQ_SHARED) skip where it is absent.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/setup.sh

ptq_step "Packages"
ptq_install build tests

ptq_step "Release build"
cmake --preset release -DPTQ_TESTS=ON
cmake --build build/release --parallel "$(ptq_jobs)"

ptq_step "C++ tests: units, layering, installed package"
ctest --test-dir build/release --output-on-failure --no-tests=error --parallel "$(nproc)" \
  >build/ctest.log 2>&1 || { cat build/ctest.log; ctest_failed=1; }
ctest_line=$(grep -E '^[0-9]+% tests passed' build/ctest.log || echo "ctest did not finish")
grep -E '^Total Test time' build/ctest.log || true
grep -E '\*\*\*Skipped' build/ctest.log || true
echo "$ctest_line"

ptq_step "Python packages for the comparison with ONNX Runtime (build/venv)"
venv=build/venv
stamp=$venv/requirements.installed
if ! cmp -s tests/interop/requirements.txt "$stamp"; then
  echo "Installing with pip: $(grep -v '^#' tests/interop/requirements.txt | tr '\n' ' ')"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/interop/requirements.txt
  cp tests/interop/requirements.txt "$stamp"
else
  echo "Installed already."
fi

ptq_step "Python tests: the real ONNX Runtime, tokenizers, schema"
[ -d "${PTQ_SHARED:-../shared}" ] || echo "../shared is absent: tests that use its models skip."
PTQ_BUILD_DIR="$PWD/build/release" "$venv/bin/python" -m pytest tests -q -ra --durations=5 \
  --numprocesses "$(nproc)" --dist worksteal -p no:cacheprovider "$@" 2>&1 | tee build/pytest.log || pytest_failed=1
pytest_line=$(tail -1 build/pytest.log)

ptq_step "Done"
echo "C++:    $ctest_line"
echo "Python: $pytest_line"
if [ -n "${ctest_failed:-}${pytest_failed:-}" ]; then
  echo "Some tests failed."
  exit 1
fi
echo "All tests passed."
