#!/bin/bash
# Installs the packages of build/packages in bare Debian 12 and 13 systems, runs the demo model with each
# and removes them again. Needs root and debootstrap (Debian packages come from where this machine's do).
#   tools/check_packages.sh [DIRECTORY]     where the bare systems are made and kept (/var/tmp/quantize-roots)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/setup.sh
packages=$PWD/build/packages
roots=${1:-/var/tmp/quantize-roots}

if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null; then
  echo "check_packages.sh needs root and debootstrap: it installs packages in systems of their own." >&2
  exit 1
fi
if ! ls "$packages"/*.deb "$packages"/*.tar.gz "$packages"/*.whl >/dev/null; then
  echo "check_packages.sh: build/packages is not complete: run tools/package.sh first" >&2
  exit 1
fi

bare_system() {  # SUITE
  local suite=$1 base=$roots/$1 mirror
  if [ -e "$base.made" ]; then return 0; fi
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | head -1)
  mkdir -p "$roots" && rm -rf "$base"
  debootstrap --variant=minbase --include=ca-certificates "$suite" "$base" "$mirror" >"$base.log" 2>&1 ||
    { tail -5 "$base.log"; return 1; }
  touch "$base.made"
}

# Runs a script in a fresh copy of a bare system, with the packages in /packages.
system=
in_copy() {  # SUITE SCRIPT
  system=$roots/$1.copy
  rm -rf "$system"
  cp -a "$roots/$1" "$system"
  cp /etc/resolv.conf /etc/hosts "$system/etc/"
  mkdir "$system/packages"
  cp "$packages"/* "$system/packages"
  mount --bind /dev "$system/dev"
  mount -t proc proc "$system/proc"
  local status=0
  # shellcheck disable=SC2046  # one word for each variable
  env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive \
    $(env | grep -E '^(https?|no)_proxy=|^OPENBLAS_' || true) \
    chroot "$system" bash -euo pipefail -c "$demo$2" || status=$?
  leave
  return $status
}

leave() {
  [ -n "$system" ] || return 0
  umount "$system/proc" "$system/dev" 2>/dev/null || true
  mountpoint -q "$system/dev" || rm -rf "$system"
  system=
}
trap leave EXIT

# demo DIRECTORY_OF_THE_DEMO_MODEL QUANTIZE...: quantizes, looks, measures, and prints what the bytes are.
# shellcheck disable=SC2016
demo='demo() {
  local source=$1
  shift
  "$@" --version | head -1
  "$@" run --src $source --dst /tmp/int4 --bits 4 --group-size 128 --calib $source/calibration.txt \
    --overwrite --json >/tmp/run.json 2>/dev/null
  grep -A1 "\"verification\": {" /tmp/run.json | grep -q "\"done\": true"
  "$@" inspect /tmp/int4 | tail -1
  head -c 20000 $source/heldout.txt >/tmp/heldout.txt
  "$@" eval /tmp/int4 --against $source --text /tmp/heldout.txt 2>/dev/null | grep -i perplexity | head -1
  cat /tmp/int4/model.onnx /tmp/int4/model.onnx.data | sha256sum | sed "s/-/the bytes of the quantized demo/"
}
'

# shellcheck disable=SC2016
debian_package='
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends /packages/*.deb >/tmp/apt.log 2>&1 || { tail /tmp/apt.log; exit 1; }
  dpkg-query -W -f "\${Package} \${Version} depends on \${Depends}\n" quantize
  demo /usr/share/quantize/demo quantize
  for file in share/man/man1/quantize.1.gz share/bash-completion/completions/quantize \
    share/zsh/vendor-completions/_quantize share/fish/vendor_completions.d/quantize.fish \
    share/doc/quantize/sbom.spdx.json share/doc/quantize/THIRD_PARTY_LICENSES.gz share/doc/quantize/copyright; do
    test -s /usr/$file
  done
  dpkg --verify quantize
  apt-get purge -y -qq quantize >/tmp/apt.log 2>&1
  if find / -xdev -path /packages -prune -o -path /tmp -prune -o -name "*quantize*" -print | grep .; then
    echo "left behind" && exit 1
  fi
  echo "removed without a trace"'

# Even the C++ runtime, which apt brings, is taken away.
# shellcheck disable=SC2016
tarball='
  mkdir /opt/quantize
  tar -xzf /packages/*.tar.gz -C /opt/quantize --strip-components=1
  rm /usr/lib/*/libstdc++.so* /usr/lib/*/libgcc_s.so* 2>/dev/null || rm /lib/*/libgcc_s.so*
  demo /opt/quantize/share/quantize/demo /opt/quantize/bin/quantize'

# shellcheck disable=SC2016
wheel='
  mkdir /demo
  tar -xzf /packages/*.tar.gz -C /demo --wildcards --strip-components=4 "*/share/quantize/demo"
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends python3 python3-venv >/tmp/apt.log 2>&1 || { tail /tmp/apt.log; exit 1; }
  python3 -m venv /venv
  /venv/bin/pip install --quiet --no-index /packages/*.whl
  /venv/bin/python --version
  demo /demo /venv/bin/quantize
  /venv/bin/python -m quantize_onnx --version | head -1
  /venv/bin/python - <<CODE
import quantize_onnx
result = quantize_onnx.run(["run", "--src", "/demo", "--dst", "/tmp/api", "--method", "rtn", "--bits", 4])
print("run:", result["bytes_before"], "->", result["bytes_after"], "bytes")
try:
    quantize_onnx.run(["inspect", "/nothing-here"])
except quantize_onnx.QuantizeError as error:
    print("QuantizeError:", error.status, error.message)
CODE
  test -s /venv/share/man/man1/quantize.1
  /venv/bin/pip uninstall --quiet --yes quantize-onnx
  if find /venv -name "*quantize*" | grep .; then echo "left behind" && exit 1; fi
  echo "removed without a trace"'

for suite in bookworm trixie; do
  ptq_part "A bare $suite" bare_system $suite || exit 1
  ptq_part "$suite: Debian package" in_copy $suite "$debian_package" || true
  ptq_part "$suite: tarball" in_copy $suite "$tarball" || true
  ptq_part "$suite: wheel" in_copy $suite "$wheel" || true
done
ptq_step "Summary"
ptq_summary
