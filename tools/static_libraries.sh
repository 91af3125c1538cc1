#!/bin/bash
# Makes static forms of the libraries that Debian 12 has only as shared ones, from Debian's own sources
# of the installed versions: what packages carry must not depend on names that change with a release.
#   tools/static_libraries.sh [DIRECTORY]      (build/static); needs the set `packages` of tools/setup.sh
# DIRECTORY/lib has the archives, DIRECTORY/sources.tsv names for each the source package and its
# version, DIRECTORY/copyright what Debian says of its licence. Can be run again; a version that is
# there already is not built again. Headers stay those of the installed -dev packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/setup.sh
out=${1:-build/static}
mkdir -p "$out/lib" "$out/copyright" "$out/work"
out=$(realpath "$out")
work=$out/work

# archive, package with its headers, target of the source's CMakeLists.txt, further arguments of cmake
libraries() {
  cat <<TABLE
fmt libfmt-dev fmt -DFMT_TEST=OFF -DFMT_DOC=OFF
spdlog libspdlog-dev spdlog -DSPDLOG_FMT_EXTERNAL=ON -DSPDLOG_BUILD_EXAMPLE=OFF
zip libzip-dev zip -DENABLE_BZIP2=OFF -DENABLE_LZMA=OFF -DENABLE_ZSTD=OFF -DENABLE_GNUTLS=OFF -DENABLE_MBEDTLS=OFF -DENABLE_OPENSSL=OFF
tbb libtbb-dev tbb -DTBB_TEST=OFF -DTBB_STRICT=OFF
prometheus-cpp-core prometheus-cpp-dev core -DENABLE_PULL=OFF -DENABLE_PUSH=OFF -DENABLE_TESTING=OFF -DUSE_THIRDPARTY_LIBRARIES=OFF
TABLE
}

# apt-get with lists and a cache of its own: the sources of what this machine installs from Debian.
apt_sources() {
  apt-get -qq -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" -o APT::Sandbox::User= "$@"
}

prepare_apt() {
  mkdir -p "$work"/apt/{lists/partial,cache/archives/partial}
  # shellcheck disable=SC2016
  apt-get indextargets --format 'deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)' \
    'Created-By: Packages' 'Origin: Debian' | sort -u >"$work/apt/sources.list"
  apt_sources update
}

# Its unpacked source in the directory work/ARCHIVE. Of an older version than the mirror's newest there may be none.
fetch() {  # ARCHIVE SOURCE VERSION
  [ -n "${ptq_apt_ready:-}" ] || prepare_apt
  ptq_apt_ready=1
  rm -rf "${work:?}/$1" "$work/fetch"
  mkdir "$work/fetch"
  (cd "$work/fetch" && apt_sources source --only-source "$2=$3" >/dev/null)
  mv "$work/fetch/"*/ "$work/$1"
}

made() {  # ARCHIVE SOURCE VERSION: is it there in this version?
  [ -f "$out/lib/lib$1.a" ] && grep -qxF "$(printf '%s\t%s\t%s' "$@")" "$out/sources.tsv"
}

note() {  # ARCHIVE SOURCE VERSION COPYRIGHT_FILE
  touch "$out/sources.tsv"
  awk -F'\t' -v archive="$1" '$1 != archive' "$out/sources.tsv" >"$work/sources.tsv"
  printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$work/sources.tsv"
  sort "$work/sources.tsv" >"$out/sources.tsv"
  cp "$4" "$out/copyright/$1"
}

compile() {  # ARCHIVE TARGET ARGUMENTS...
  local archive=$1 target=$2 flags="-ffile-prefix-map=$work=. -D_FORTIFY_SOURCE=2 -fstack-protector-strong -ffunction-sections -fdata-sections"
  shift 2
  cmake -S "$work/$archive" -B "$work/$archive/build-static" -G Ninja -Wno-dev -DCMAKE_BUILD_TYPE=Release \
    -DBUILD_SHARED_LIBS=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DCMAKE_C_FLAGS="$flags" \
    -DCMAKE_CXX_FLAGS="$flags" "$@" &&
    cmake --build "$work/$archive/build-static" --parallel "$(ptq_jobs)" --target "$target" &&
    find "$work/$archive/build-static" -name "lib$archive.a" -exec cp {} "$out/lib" \;
}

# ONNX's messages, from the description that the installed library holds: the same types and fields.
compile_onnx() {
  local source=$work/onnx_proto
  rm -rf "$source" && mkdir -p "$source/onnx"
  cat >"$source/print.cc" <<'CODE'
#include <iostream>
#include <onnx/onnx_pb.h>
int main() { std::cout << onnx::ModelProto::descriptor()->file()->DebugString(); }
CODE
  (cd "$source" &&
    g++ -DONNX_ML=1 -DONNX_NAMESPACE=onnx print.cc -o print -lonnx_proto -lprotobuf -pthread &&
    ./print >onnx/onnx-ml.proto && protoc --cpp_out=. onnx/onnx-ml.proto &&
    g++ -std=c++17 -O2 -fPIC -ffunction-sections -fdata-sections -DONNX_API= -I. -c onnx/onnx-ml.pb.cc -o onnx-ml.pb.o &&
    rm -f "$out/lib/libonnx_proto.a" && ar rcsD "$out/lib/libonnx_proto.a" onnx-ml.pb.o)
}

source_of() { dpkg-query -W -f='${source:Package} ${source:Version}' "$1"; }

ptq_install build packages
while read -r archive package target arguments; do
  read -r source version <<<"$(source_of "$package")"
  if made "$archive" "$source" "$version"; then continue; fi
  echo "lib$archive.a from $source $version"
  fetch "$archive" "$source" "$version"
  # shellcheck disable=SC2086
  compile "$archive" "$target" $arguments >"$work/$archive.log" 2>&1 </dev/null ||
    { tail -30 "$work/$archive.log"; exit 1; }
  note "$archive" "$source" "$version" "$work/$archive/debian/copyright"
done < <(libraries)
read -r source version <<<"$(source_of libonnx-dev)"
if ! made onnx_proto "$source" "$version"; then
  echo "libonnx_proto.a from $source $version"
  compile_onnx
  note onnx_proto "$source" "$version" /usr/share/doc/libonnx-dev/copyright
fi
echo "Static libraries are in $out/lib."
