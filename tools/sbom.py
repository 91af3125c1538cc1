#!/usr/bin/env python3
"""Lists what a packaged `quantize` consists of: sbom.spdx.json (SPDX 2.3) and THIRD_PARTY_LICENSES.

Nothing is listed by hand: archives come from the linker's map, headers from the compiler's
dependencies (libraries of headers alone have no archive), both by the Debian source package they
belong to, crates from cargo. What has no entry in LICENCES ends the script: somebody must look first.
"""

import argparse
import collections
import datetime
import hashlib
import html
import json
import os
import pathlib
import re
import subprocess
import sys
import uuid

# Debian source package -> SPDX licence of what is linked of it.
LICENCES = {
    "cli11": "BSD-3-Clause",
    "eigen3": "MPL-2.0",
    "fmtlib": "MIT",
    "gcc": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "glibc": "LGPL-2.1-or-later",
    "libzip": "BSD-3-Clause",
    "nlohmann-json3": "MIT",
    "onetbb": "Apache-2.0",
    "onnx": "Apache-2.0",
    "openblas": "BSD-3-Clause",
    "openssl": "Apache-2.0",
    "prometheus-cpp": "MIT",
    "protobuf": "BSD-3-Clause",
    "spdlog": "MIT",
    "zlib": "Zlib",
}
# Headers of the language and the system, not of a library: what is linked of them is in the map.
PLAIN_HEADERS = re.compile(r"^(libc6-dev|linux-libc-dev|libcrypt-dev|lib(gcc|stdc\+\+)-\d+-dev)$")
# Crates that contain another project: file with its licence, licence.
BUNDLED = {"zstd-sys": ("zstd/LICENSE", "BSD-3-Clause")}
LICENCE_FILE = re.compile(r"^(licen[cs]e|copying|notice|unlicense|copyright)", re.IGNORECASE)

Component = collections.namedtuple(
    "Component", "name version licence origin purl sha256 texts relationship"
)


class SupplyError(Exception):
    """Something that is linked is not known."""


def output_of(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SupplyError(f"'{' '.join(map(str, command))[:200]}' failed: {done.stderr.strip()}")
    return done.stdout


def linked_archives(map_text):
    """The archives of which the linker took at least one member."""
    first_part = map_text.split("\nDiscarded input sections")[0]
    return normal_paths(re.findall(r"^(\S+\.a)\(\S+\)", first_part, re.MULTILINE))


def shared_libraries(map_text):
    return normal_paths(re.findall(r"^LOAD (/\S+\.so[.0-9]*)$", map_text, re.MULTILINE))


def normal_paths(paths):
    """Without "..": as dpkg knows them."""
    return sorted({os.path.normpath(path) for path in paths})


def included_headers(ninja_deps):
    """Headers under /usr of `ninja -t deps`."""
    return normal_paths(re.findall(r"^ +(/usr/\S+)$", ninja_deps, re.MULTILINE))


def debian_owners(files):
    """{file: binary package}; an alternative (a link) belongs to the package of its file."""
    if not files:
        return {}
    done = subprocess.run(
        ["dpkg-query", "-S", *files], capture_output=True, text=True, check=False
    )
    owners = {}
    for line in done.stdout.splitlines():
        packages, _, file = line.partition(": ")
        owners[file] = packages.split(",")[0].split(":")[0]
    unknown = [file for file in files if file not in owners]
    if unknown:
        raise SupplyError(f"no Debian package has {unknown[0]}")
    return owners


def debian_source(package):
    """(name, version) of the source package."""
    form = "${source:Package}\t${source:Version}\n"
    return tuple(output_of("dpkg-query", "-W", f"-f={form}", package).splitlines()[0].split("\t"))


def licence_of_source(name):
    licence = LICENCES.get(re.sub(r"^gcc-\d+$", "gcc", name))
    if licence is None:
        raise SupplyError(f"the licence of '{name}' is not known: look, then add it to LICENCES")
    return licence


def debian_component(name, version, copyright_file, relationship):
    text = pathlib.Path(copyright_file).read_text(encoding="utf-8", errors="replace")
    purl = f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}?arch=source"
    return Component(
        name, version, licence_of_source(name), "Debian", purl, None, [text], relationship
    )


def debian_components(map_text, ninja_deps, static):
    """What is linked or included of Debian, one component for each source package."""
    found = {}

    def add(name, version, copyright_file, relationship):
        found.setdefault(name, debian_component(name, version, copyright_file, relationship))

    own = {}
    for line in (static / "sources.tsv").read_text().splitlines():
        archive, name, version = line.split("\t")
        own[archive] = (name, version)
    system = []
    for archive in linked_archives(map_text):
        archive = pathlib.Path(archive)
        if archive.parent.resolve() == (static / "lib").resolve():
            stem = archive.stem.removeprefix("lib")
            add(*own[stem], static / "copyright" / stem, "STATIC_LINK")
        elif str(archive).startswith(("/usr/", "/lib/")):
            system.append(str(archive))
        elif archive.name not in ("libptq.a", "libptq_text_ffi.a"):
            raise SupplyError(f"nobody knows where {archive} comes from")
    for relationship, files in (
        ("STATIC_LINK", system),
        ("DYNAMIC_LINK", shared_libraries(map_text)),
        ("DEPENDS_ON", included_headers(ninja_deps)),
    ):
        for package in sorted(set(debian_owners(files).values())):
            if relationship != "DEPENDS_ON" or not PLAIN_HEADERS.match(package):
                add(*debian_source(package), f"/usr/share/doc/{package}/copyright", relationship)
    return sorted(found.values())


def plain_licence(expression):
    """Older crates write "/" where SPDX has "OR"."""
    return re.sub(r"\s*/\s*", " OR ", expression)


def crate_texts(directory):
    return [
        path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(directory.iterdir())
        if path.is_file() and LICENCE_FILE.match(path.name)
    ]


def linked_crates(metadata):
    """Ids of the packages that the library is linked from: no build scripts, macros or tests."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    found, waiting = {}, [root]
    while waiting:
        node = nodes[waiting.pop()]
        if node["id"] in found:
            continue
        uses = [
            dependency["pkg"]
            for dependency in node["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
            and not any(
                "proc-macro" in target["kind"] for target in packages[dependency["pkg"]]["targets"]
            )
        ]
        found[node["id"]] = uses
        waiting += uses
    return root, found


def crate_components(cargo, crate):
    """(components, {component: those that it uses}, direct ones)."""
    host = re.search(r"^host: (.*)$", output_of(rustc_of(cargo), "-vV"), re.MULTILINE)[1]
    metadata = json.loads(
        output_of(
            cargo, "metadata", "--format-version", "1", "--locked", "--offline",
            "--filter-platform", host, "--manifest-path", crate / "Cargo.toml",
        )  # fmt: skip
    )
    packages = {package["id"]: package for package in metadata["packages"]}
    lock = (crate / "Cargo.lock").read_text()
    pattern = r'name = "(.*)"\nversion = "(.*)"\nsource = .*\nchecksum = "(.*)"'
    sums = {(name, version): value for name, version, value in re.findall(pattern, lock)}
    root, uses = linked_crates(metadata)
    components = {}
    for identity in uses:
        if identity == root:
            continue
        package = packages[identity]
        name, version = package["name"], package["version"]
        directory = pathlib.Path(package["manifest_path"]).parent
        licence = plain_licence(package["license"] or "NOASSERTION")
        texts = crate_texts(directory)
        if not texts:
            authors = ", ".join(package["authors"]) or "not named"
            texts = [
                f"{name} brings no file with its licence. Its authors: {authors}. Its manifest says "
                f"{licence}, the terms of which stand with other parts."
            ]
        if name in BUNDLED:
            file, more = BUNDLED[name]
            texts.append((directory / file).read_text(encoding="utf-8"))
            licence = f"({licence}) AND {more}"
        purl = f"pkg:cargo/{name}@{version.replace('+', '%2B')}"
        components[identity] = Component(
            name, version, licence, "crate", purl, sums[(name, version)], texts, "STATIC_LINK"
        )
    return components, uses, root


def rustc_of(cargo):
    beside = pathlib.Path(cargo).with_name("rustc")
    return str(beside) if beside.exists() else "rustc"


def rust_component(cargo):
    rustc = rustc_of(cargo)
    version = re.search(r"rustc (\S+)", output_of(rustc, "--version"))[1]
    sysroot = pathlib.Path(output_of(rustc, "--print", "sysroot").strip())
    of_toolchain, of_debian = sysroot / "share/doc/rust", pathlib.Path("/usr/share/doc")
    files = [
        of_toolchain / "licenses" / "MIT.txt",
        of_toolchain / "licenses" / "Apache-2.0.txt",
        of_toolchain / "COPYRIGHT-library.html",
    ]
    if not files[0].exists():
        files = sorted(of_debian.glob("libstd-rust*-dev/copyright"))[:1]
    texts = [path.read_text(encoding="utf-8") for path in files if path.exists()]
    texts = [html.unescape(re.sub(r"<[^>]*>", "", text)) for text in texts]
    if not texts:
        raise SupplyError("the licence of Rust's standard library is not beside the compiler")
    return Component(
        "rust-std", version, "MIT OR Apache-2.0", "Rust", f"pkg:generic/rust-std@{version}", None,
        texts, "STATIC_LINK",
    )  # fmt: skip


def identifier(component):
    name = re.sub(r"[^A-Za-z0-9.-]", "-", f"{component.origin}-{component.name}-{component.version}")
    return f"SPDXRef-{name}"


def spdx_package(component):
    package = {
        "SPDXID": identifier(component),
        "name": component.name,
        "versionInfo": component.version,
        "supplier": "Organization: Debian" if component.origin == "Debian" else "NOASSERTION",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": component.licence,
        "licenseDeclared": component.licence,
        "copyrightText": "NOASSERTION",
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": component.purl,
            }
        ],
    }
    if component.sha256:
        package["checksums"] = [{"algorithm": "SHA256", "checksumValue": component.sha256}]
    return package


def document(version, program, components, relationships, created):
    """The SPDX document of the program (its bytes) and its components."""
    digest = hashlib.sha256(program).hexdigest()
    main = {
        "SPDXID": "SPDXRef-quantize",
        "name": "quantize",
        "versionInfo": version,
        "supplier": "NOASSERTION",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "Apache-2.0",
        "licenseDeclared": "Apache-2.0",
        "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": "APPLICATION",
        "checksums": [{"algorithm": "SHA256", "checksumValue": digest}],
    }
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"quantize-{version}",
        "documentNamespace": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "creationInfo": {
            "created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": [f"Tool: quantize-sbom-{version}"],
        },
        "documentDescribes": [main["SPDXID"]],
        "packages": [main, *map(spdx_package, components)],
        "relationships": [
            {
                "spdxElementId": one,
                "relationshipType": kind,
                "relatedSpdxElement": other,
            }
            for one, kind, other in [
                ("SPDXRef-DOCUMENT", "DESCRIBES", main["SPDXID"]),
                *[(main["SPDXID"], part.relationship, identifier(part)) for part in components],
                *relationships,
            ]
        ],
    }


def licences_text(components):
    """Every text once, below the names of all that it is of."""
    parts_of = {}
    for component in components:
        for text in component.texts:
            parts_of.setdefault(text.strip(), []).append(component)
    lines = ["quantize contains the following. The texts of all licences are below.", ""]
    lines += [f"  {part.name} {part.version}: {part.licence}" for part in components]
    for text, parts in parts_of.items():
        lines += ["", "=" * 100, ", ".join(f"{part.name} {part.version}" for part in parts)]
        lines += ["=" * 100, "", text]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True, help="a finished package build")
    parser.add_argument("--static", type=pathlib.Path, required=True, help="build/static")
    parser.add_argument("--crate", type=pathlib.Path, required=True, help="what cargo built")
    parser.add_argument("--cargo", default="cargo")
    parser.add_argument("--version", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()

    folder = arguments.build / "tools" / "quantize"
    map_text = (folder / "quantize.map").read_text(errors="replace")
    ninja_deps = output_of("ninja", "-C", arguments.build, "-t", "deps")
    debian = debian_components(map_text, ninja_deps, arguments.static)
    crates, uses, root = crate_components(arguments.cargo, arguments.crate)
    components = [*debian, rust_component(arguments.cargo), *sorted(crates.values())]
    relationships = sorted(
        (identifier(crates[user]), "DEPENDS_ON", identifier(crates[used]))
        for user, all_used in uses.items()
        if user != root
        for used in all_used
    )
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or (folder / "quantize").stat().st_mtime)
    created = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    program = (folder / "quantize").read_bytes()
    found = document(arguments.version, program, components, relationships, created)
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    (arguments.out / "sbom.spdx.json").write_text(text, encoding="utf-8")
    (arguments.out / "THIRD_PARTY_LICENSES").write_text(licences_text(components), encoding="utf-8")
    print(f"{len(debian)} Debian sources, {len(crates)} crates")


if __name__ == "__main__":
    try:
        main()
    except SupplyError as error:
        sys.exit(f"sbom.py: {error}")
