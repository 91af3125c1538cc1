#!/bin/bash
# Installs the Debian 12 packages that are missing, after naming them. Used by the other scripts:
#   tools/setup.sh SET...     where SET is: build, tests, benchmarks, checks, libfuzzer, mpi, packages,
#                             runtimes (they add up)
# or sourced, for the functions below. Without root it names what is missing and exits with 1.
# PTQ_NO_INSTALL=1 skips the check, for other systems where everything is there already.

PTQ_CARGO_MINIMUM=1.85

ptq_packages() {  # SET... -> one package a line
  local set
  for set in "$@"; do
    case $set in
      build)
        printf '%s\n' g++ cmake ninja-build pkg-config ca-certificates libonnx-dev libprotobuf-dev \
          protobuf-compiler libeigen3-dev libopenblas-dev libtbb-dev libcli11-dev libspdlog-dev \
          nlohmann-json3-dev prometheus-cpp-dev libzip-dev zlib1g-dev libssl-dev
        ptq_has_recent_cargo || printf '%s\n' cargo-web rustc-web
        ;;
      tests)
        printf '%s\n' libgtest-dev libgmock-dev jq shellcheck
        ptq_has_chromium || printf '%s\n' chromium-headless-shell  # reports are looked at in it
        ptq_has_python || printf '%s\n' python3 python3-venv
        ;;
      benchmarks) printf '%s\n' libbenchmark-dev ;;
      checks) printf '%s\n' clang-format-14 clang-tidy-14 ccache doxygen ;;
      libfuzzer) printf '%s\n' clang-14 libclang-rt-14-dev ;;
      packages)
        printf '%s\n' dpkg-dev file patch xz-utils zlib1g-dev libssl-dev libopenblas-dev
        ptq_has_python || printf '%s\n' python3 python3-venv
        ;;
      mpi) printf '%s\n' libopenmpi-dev openmpi-bin ;;
      runtimes)
        ptq_has_python || printf '%s\n' python3 python3-venv
        ptq_has_node || printf '%s\n' nodejs npm
        ptq_has_chromium || printf '%s\n' chromium-headless-shell
        ;;
      *) echo "setup.sh: unknown set '$set' (build, tests, benchmarks, checks, libfuzzer, mpi, packages," \
        "runtimes)" >&2; return 2 ;;
    esac
  done
}

# The same test as cmake/TextFfi.cmake: a cargo on PATH or of rustup is used before Debian's.
ptq_has_recent_cargo() {
  local cargo version
  for cargo in "$(command -v cargo)" "${HOME:-/root}/.cargo/bin/cargo"; do
    version=$("$cargo" --version 2>/dev/null | sed -n 's/^cargo \([0-9.]*\).*/\1/p')
    if [ -n "$version" ] &&
      [ "$(printf '%s\n' "$PTQ_CARGO_MINIMUM" "$version" | sort -V | head -1)" = \
        "$PTQ_CARGO_MINIMUM" ]; then
      return 0
    fi
  done
  return 1
}

ptq_has_python() {
  python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

ptq_has_node() {  # transformers.js needs 18
  command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' 2>/dev/null
}

ptq_has_chromium() {
  command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null ||
    command -v google-chrome >/dev/null
}

ptq_missing_packages() {  # SET...
  local package
  for package in $(ptq_packages "$@" | sort -u); do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
      echo "$package"
  done
}

ptq_install() {  # SET...
  local missing
  if [ -n "${PTQ_NO_INSTALL:-}" ]; then return 0; fi
  ptq_packages "$@" >/dev/null || return
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "This is not a Debian system. Needed, under Debian's names:"
    ptq_packages "$@" | sort -u | sed 's/^/  /'
    echo "Install these and set PTQ_NO_INSTALL=1."
    return 1
  fi
  missing=$(ptq_missing_packages "$@" | tr '\n' ' ')
  missing=${missing% }
  if [ -z "$missing" ]; then
    echo "All Debian packages needed ($*) are installed."
    return 0
  fi
  if [ "$(id -u)" -ne 0 ]; then
    echo "These Debian packages are missing; install them as root, then run this again:"
    echo "  apt-get update && apt-get install --no-install-recommends $missing"
    return 1
  fi
  echo "Installing these Debian packages with apt-get: $missing"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086
  apt-get update -q >/dev/null && apt-get install -y -q --no-install-recommends $missing >/dev/null
}

# Compile jobs: one per processor, but each with 1.5 GiB of free memory.
ptq_jobs() {
  local processors memory
  processors=$(nproc)
  memory=$(awk '/^MemAvailable:/ {print int($2 / 1572864)}' /proc/meminfo)
  if [ "$memory" -lt 1 ]; then memory=1; fi
  echo $((memory < processors ? memory : processors))
}

# A heading with the time since the script began.
ptq_step() { printf '\n== [%4d s] %s\n' "$SECONDS" "$*"; }

# Runs a part of a script under its heading, whatever became of the parts before it, and keeps a line
# for the summary: seconds, what became of it, name.
ptq_parts=()
ptq_part() {  # NAME COMMAND...
  local name=$1 start=$SECONDS status=0 word=ok
  shift
  ptq_step "$name"
  "$@" || { status=$? word=FAILED; }
  ptq_parts+=("$(printf '%5d s  %-6s  %s' $((SECONDS - start)) "$word" "$name")")
  return $status
}

# The lines that another script has written with ptq_summary, below the last part of this one.
ptq_inner_parts() {  # FILE
  local line
  while IFS= read -r line; do
    ptq_parts+=("$(sed -E 's/^(.{17})/\1  /' <<<"$line")")
  done <"$1"
}

# The lines of all parts; the status is 1 if one of them has failed.
ptq_summary() {
  printf '%s\n' "${ptq_parts[@]}"
  case "${ptq_parts[*]}" in *" s  FAILED  "*) return 1 ;; esac
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set -euo pipefail
  if [ $# -eq 0 ]; then set -- build; fi
  ptq_install "$@"
fi
