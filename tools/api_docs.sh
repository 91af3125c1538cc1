#!/bin/bash
# Writes the documentation of the library's headers with doxygen: DIRECTORY/html/index.html.
#   tools/api_docs.sh [DIRECTORY]      (build/api)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v doxygen >/dev/null || { echo "api_docs.sh needs doxygen (Debian: apt-get install doxygen)" >&2; exit 1; }
PTQ_VERSION=$(sed -n 's/^project(ptq VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
PTQ_API_DIR=${1:-build/api}
export PTQ_VERSION PTQ_API_DIR
mkdir -p "$PTQ_API_DIR"
doxygen Doxyfile
echo "The documentation of the headers is in $PTQ_API_DIR/html/index.html."
