#!/bin/bash
# Writes src/text/ffi/crates.lock: the newest versions of all crates that the pinned ones of Cargo.toml
# and its `rust-version` allow. It is cargo's own Cargo.lock without the lines that name a registry.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r src/text/ffi/Cargo.toml src/text/ffi/src "$work"
"${CARGO:-cargo}" generate-lockfile --quiet --manifest-path "$work/Cargo.toml"
sed '/^source = /d' "$work/Cargo.lock" >src/text/ffi/crates.lock
