#!/bin/bash
# Makes every package of the program in build/packages: a .deb, a tarball, a Python wheel, and beside them
# the list of what they consist of and their checksums (docs/packages.md). Can be run again.
# SOURCE_DATE_EPOCH is the time of all files in them; the commit's, if it is not set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/setup.sh
packages=build/packages
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
umask 022

ptq_step "Packages of Debian"
ptq_install build packages

ptq_step "Static libraries"
tools/static_libraries.sh

ptq_step "Build"
cmake --preset package
cmake --build build/package --parallel "$(ptq_jobs)"

ptq_step "Debian package and tarball"
rm -rf $packages
cpack --config build/package/CPackConfig.cmake
rm -rf $packages/_CPack_Packages

ptq_step "Python wheel"
venv=build/wheel-venv
if ! cmp -s packaging/python/requirements.txt $venv/requirements.installed; then
  rm -rf $venv
  python3 -m venv $venv
  $venv/bin/pip install --quiet --disable-pip-version-check -r packaging/python/requirements.txt
  cp packaging/python/requirements.txt $venv/requirements.installed
fi
wheel=build/wheel
rm -rf $wheel
cp -r packaging/python $wheel
find $wheel -name __pycache__ -prune -exec rm -r {} +
install -D build/package/tools/quantize/quantize $wheel/src/quantize_onnx/bin/quantize
cp LICENSE build/package/supply/THIRD_PARTY_LICENSES build/package/supply/sbom.spdx.json $wheel
install -D -m 644 docs/man/quantize.1 $wheel/share/man/man1/quantize.1
install -D -m 644 tools/completion/quantize.bash $wheel/share/bash-completion/completions/quantize
install -D -m 644 tools/completion/_quantize $wheel/share/zsh/site-functions/_quantize
install -D -m 644 tools/completion/quantize.fish $wheel/share/fish/vendor_completions.d/quantize.fish
(cd $wheel && ../wheel-venv/bin/python -m hatchling build -t wheel -d ../packages)
$venv/bin/python -m auditwheel show $packages/*.whl | tee build/auditwheel.txt
# What the file is called must be no more than what it keeps.
tag=$(basename $packages/*.whl .whl | sed 's/.*-//')
tr -d '\n' <build/auditwheel.txt | grep -q "constrains the platform tag to *\"$tag\"\|consistent with.*\"$tag\"" ||
  { echo "auditwheel does not agree with the tag $tag"; exit 1; }

ptq_step "Done"
cp build/package/supply/sbom.spdx.json "$packages/quantize-$(sed -n 's/^project(ptq VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt).spdx.json"
(cd $packages && sha256sum -- * | tee SHA256SUMS)
