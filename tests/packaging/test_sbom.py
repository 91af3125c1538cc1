"""tools/sbom.py: what it lists, what it refuses, and that the result follows the rules of SPDX 2.3."""

import datetime
import json
import re

import pytest
import sbom
from quantize_cli import REPOSITORY

MAP = """Archive member included to satisfy reference by file (symbol)

/usr/lib/x86_64-linux-gnu/libz.a(inflate.o)
                              main.o (inflate)
/build/static/lib/libzip.a(zip_open.o)
                              main.o (zip_open)
/usr/lib/gcc/x86_64-linux-gnu/12/../../../x86_64-linux-gnu/libc_nonshared.a(atexit.oS)
                              main.o (atexit)
src/libptq.a(run.cc.o)
                              main.o (Run)

Discarded input sections

 .text          0x0 /usr/lib/x86_64-linux-gnu/libunused.a(x.o)

Linker script and memory map

LOAD /usr/lib/x86_64-linux-gnu/libunused.a
LOAD /lib/x86_64-linux-gnu/libc.so.6
LOAD /usr/lib/gcc/x86_64-linux-gnu/12/../../../x86_64-linux-gnu/libm.so
"""

EXPRESSION = re.compile(r"^\(*[A-Za-z0-9.+-]+( (AND|OR|WITH) \(*[A-Za-z0-9.+-]+\)*|\))*$")
REFERENCE = re.compile(r"^SPDXRef-[A-Za-z0-9.-]+$")
RELATIONSHIPS = {"DESCRIBES", "STATIC_LINK", "DYNAMIC_LINK", "DEPENDS_ON"}


def broken_rules(document):
    """What the specification of SPDX 2.3 (chapters 6, 7 and 11) asks for and the document lacks."""
    found = []

    def rule(holds, text):
        if not holds:
            found.append(text)

    rule(document.get("spdxVersion") == "SPDX-2.3", "spdxVersion")
    rule(document.get("dataLicense") == "CC0-1.0", "dataLicense")
    rule(document.get("SPDXID") == "SPDXRef-DOCUMENT", "SPDXID")
    rule(document.get("name"), "name")
    namespace = document.get("documentNamespace", "")
    rule(re.match(r"^[a-z][a-z0-9+.-]*:[^#\s]+$", namespace), "documentNamespace is a URI without #")
    information = document.get("creationInfo", {})
    rule(
        re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", information.get("created", "")), "created"
    )
    creators = information.get("creators", [])
    rule(
        creators and all(re.match("(Person|Organization|Tool): ", name) for name in creators),
        "creators",
    )
    identifiers = ["SPDXRef-DOCUMENT"]
    for package in document.get("packages", []):
        identifier = package.get("SPDXID", "")
        identifiers.append(identifier)
        rule(REFERENCE.match(identifier), f"SPDXID {identifier}")
        rule(package.get("name"), f"name of {identifier}")
        rule(package.get("versionInfo"), f"version of {identifier}")
        rule(package.get("downloadLocation"), f"downloadLocation of {identifier}")
        rule(package.get("filesAnalyzed") is False, f"filesAnalyzed of {identifier}")
        rule("packageVerificationCode" not in package, f"verification code of {identifier}")
        for key in ("licenseConcluded", "licenseDeclared"):
            rule(EXPRESSION.match(package.get(key, "")), f"{key} of {identifier}")
        rule(package.get("copyrightText"), f"copyrightText of {identifier}")
        supplier = package.get("supplier", "NOASSERTION")
        rule(re.match("NOASSERTION$|(Person|Organization): ", supplier), f"supplier {supplier}")
        for checksum in package.get("checksums", []):
            rule(
                checksum["algorithm"] == "SHA256"
                and re.match("^[0-9a-f]{64}$", checksum["checksumValue"]),
                f"checksum of {identifier}",
            )
        for reference in package.get("externalRefs", []):
            rule(
                reference["referenceCategory"] == "PACKAGE-MANAGER"
                and reference["referenceType"] == "purl"
                and re.match(r"^pkg:[a-z]+/[^ ]+@[^ ]+$", reference["referenceLocator"]),
                f"reference of {identifier}",
            )
    rule(len(set(identifiers)) == len(identifiers), "identifiers are unique")
    described = set()
    for relationship in document.get("relationships", []):
        one, other = relationship["spdxElementId"], relationship["relatedSpdxElement"]
        rule(one in identifiers and other in identifiers, f"{one} and {other} are elements")
        rule(relationship["relationshipType"] in RELATIONSHIPS, relationship["relationshipType"])
        if relationship["relationshipType"] == "DESCRIBES":
            described.add(other)
    rule(described == set(document.get("documentDescribes", [])) and described, "DESCRIBES")
    return found


def component(name="libzip", relationship="STATIC_LINK", **changes):
    part = sbom.Component(
        name, "1:1.7+x", "BSD-3-Clause", "Debian", f"pkg:deb/debian/{name}@1.7", None, ["Text of all"],
        relationship,
    )  # fmt: skip
    return part._replace(**changes)


def made(*components, relationships=()):
    moment = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
    return sbom.document("1.2.3", b"program", components, relationships, moment)


def test_archives_are_those_of_which_a_member_is_linked():
    assert sbom.linked_archives(MAP) == [
        "/build/static/lib/libzip.a",
        "/usr/lib/x86_64-linux-gnu/libc_nonshared.a",
        "/usr/lib/x86_64-linux-gnu/libz.a",
        "src/libptq.a",
    ]
    assert sbom.shared_libraries(MAP) == [
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/usr/lib/x86_64-linux-gnu/libm.so",
    ]


def test_headers_are_the_systems():
    deps = "main.o: #deps 3, deps mtime 1 (VALID)\n    ../src/a.h\n    /usr/include/zip.h\n"
    assert sbom.included_headers(deps) == ["/usr/include/zip.h"]


def test_components_are_debians_sources(tmp_path, monkeypatch):
    (tmp_path / "lib").mkdir()
    (tmp_path / "copyright").mkdir()
    (tmp_path / "copyright" / "zip").write_text("terms")
    (tmp_path / "sources.tsv").write_text("zip\tlibzip\t1.7\n")
    text = MAP.replace("/build/static", str(tmp_path))
    owners = {"libz.a": "zlib1g-dev", "zip.h": "libzip-dev", "CLI.hpp": "libcli11-dev"}
    sources = {"zlib1g-dev": "zlib", "libc6-dev": "glibc", "libzip-dev": "libzip", "libcli11-dev": "cli11"}
    monkeypatch.setattr(
        sbom, "debian_owners",
        lambda files: {file: owners.get(file.split("/")[-1], "libc6-dev") for file in files},
    )  # fmt: skip
    monkeypatch.setattr(sbom, "debian_source", lambda package: (sources[package], "2"))
    monkeypatch.setattr(
        sbom, "debian_component",
        lambda name, version, file, relationship: component(
            name, relationship, version=version, texts=[str(file)]
        ),
    )  # fmt: skip
    headers = "".join(f"    /usr/include/{name}\n" for name in ("zip.h", "CLI.hpp", "stdio.h"))
    found = sbom.debian_components(text, headers, tmp_path)
    assert [(part.name, part.version, part.relationship) for part in found] == [
        ("cli11", "2", "DEPENDS_ON"),
        ("glibc", "2", "STATIC_LINK"),
        ("libzip", "1.7", "STATIC_LINK"),
        ("zlib", "2", "STATIC_LINK"),
    ]


def test_an_archive_of_unknown_origin_ends_it(tmp_path):
    (tmp_path / "sources.tsv").write_text("")
    with pytest.raises(sbom.SupplyError, match="nobody knows where /opt/libx.a comes from"):
        sbom.debian_components("/opt/libx.a(x.o)\n", "", tmp_path)


def test_a_licence_that_nobody_has_looked_at_ends_it():
    assert sbom.licence_of_source("gcc-12") == "GPL-3.0-or-later WITH GCC-exception-3.1"
    with pytest.raises(sbom.SupplyError, match="the licence of 'libnew' is not known"):
        sbom.licence_of_source("libnew")


def test_crates_are_those_that_are_linked():
    def crate(name, kind="lib"):
        return {"id": name, "targets": [{"kind": [kind]}]}

    def use(name, kind=None):
        return {"pkg": name, "dep_kinds": [{"kind": kind}]}

    metadata = {
        "packages": [crate("root"), crate("a"), crate("b"), crate("macro", "proc-macro"), crate("cc")],
        "resolve": {
            "root": "root",
            "nodes": [
                {"id": "root", "deps": [use("a"), use("macro"), use("cc", "build"), use("x", "dev")]},
                {"id": "a", "deps": [use("b")]},
                {"id": "b", "deps": []},
            ],
        },
    }
    assert sbom.linked_crates(metadata) == ("root", {"root": ["a"], "a": ["b"], "b": []})


def test_the_old_way_to_say_or():
    assert sbom.plain_licence("MIT/Apache-2.0") == "MIT OR Apache-2.0"


def test_the_document_follows_the_rules():
    zip_, crate = component(), component("b", origin="crate", sha256="0" * 64)
    edge = (sbom.identifier(crate), "DEPENDS_ON", sbom.identifier(zip_))
    document = made(zip_, crate, relationships=[edge])
    assert broken_rules(document) == []
    assert document["creationInfo"]["created"] == "2026-01-02T00:00:00Z"
    kinds = [relationship["relationshipType"] for relationship in document["relationships"]]
    assert kinds == ["DESCRIBES", "STATIC_LINK", "STATIC_LINK", "DEPENDS_ON"]
    assert made(zip_, crate, relationships=[edge]) == document


@pytest.mark.parametrize(
    "change,rule",
    [
        (lambda document: document.pop("dataLicense"), "dataLicense"),
        (lambda document: document["creationInfo"].update(created="today"), "created"),
        (lambda document: document["packages"][1].pop("downloadLocation"), "downloadLocation of"),
        (lambda document: document["packages"][1].update(licenseConcluded="GPL v3"), "licenseConcluded"),
        (lambda document: document["packages"][1].update(SPDXID="zip"), "SPDXID zip"),
        (lambda document: document["relationships"][1].update(relatedSpdxElement="x"), "x are elements"),
    ],
)
def test_the_rules_are_looked_at(change, rule):
    document = made(component())
    change(document)
    assert any(rule in broken for broken in broken_rules(document))


def test_every_licence_text_is_there_once_with_all_that_have_it():
    text = sbom.licences_text([component("a"), component("b"), component("c", texts=["Other"])])
    assert text.count("Text of all") == 1 and "\na 1:1.7+x, b 1:1.7+x\n" in text
    assert "  c 1:1.7+x: BSD-3-Clause\n" in text


SUPPLY = REPOSITORY / "build" / "package" / "supply"


@pytest.mark.skipif(not SUPPLY.exists(), reason="tools/package.sh has not run here")
def test_that_of_the_packages_follows_the_rules():
    document = json.loads((SUPPLY / "sbom.spdx.json").read_text(encoding="utf-8"))
    assert broken_rules(document) == []
    names = {package["name"] for package in document["packages"]}
    assert {"quantize", "openblas", "protobuf", "onetbb", "glibc", "eigen3", "tokenizers"} <= names
