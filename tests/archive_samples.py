"""Archives for tests: honest ones from a table of members, and hostile ones header by header."""

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PASSWD = b"root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/bash\ndisplay:x:1001:1001::/:/bin/false\n"
ENTRY = b"[Desktop Entry]\nType=Application\nName=Editor\nExec=edit %f\nIcon=edit\n"


def member(name: str, content: bytes = b"", **values: Any) -> tuple[tarfile.TarInfo, bytes]:
    """`type` and any other attribute of TarInfo by name; `pax` for extension records."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o644
    info.pax_headers = values.pop("pax", {})
    for key, value in values.items():
        setattr(info, key, value)
    return info, content


def directory(name: str, **values: Any) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.DIRTYPE, mode=values.pop("mode", 0o755), **values)


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target, mode=0o777)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def program(name: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, b"#!/bin/sh\n", mode=0o755)


def tar(members: Iterable[tuple[tarfile.TarInfo, bytes]], *, layout: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=layout) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def usable() -> list[tuple[tarfile.TarInfo, bytes]]:
    """Return the least that an image needs."""
    programs = ("Xvfb", "openbox", "pulseaudio", "dbus-daemon", "dash", "edit")
    return [
        directory("./"),
        directory("./etc"),
        member("./etc/passwd", PASSWD),
        directory("./usr/bin"),
        *(program(f"./usr/bin/{name}") for name in programs),
        symlink("./bin", "usr/bin"),
        symlink("./usr/bin/sh", "dash"),
        member("./usr/share/applications/edit.desktop", ENTRY),
    ]


def oci(layers: Sequence[bytes], **changes: Any) -> bytes:
    """Return an OCI archive. `changes`: `manifest`, `index` (called with the document), `blobs` (path → content)."""
    files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}

    def blob(content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        files[f"blobs/sha256/{digest}"] = content
        return {"digest": f"sha256:{digest}", "size": len(content)}

    kind = "application/vnd.oci.image.layer.v1.tar"
    manifest = {
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **blob(b"{}")},
        "layers": [{"mediaType": kind + ("+gzip" if one[:2] == b"\x1f\x8b" else ""), **blob(one)} for one in layers],
    }
    changes.get("manifest", lambda _: None)(manifest)
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "platform": {"os": "linux", "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]},
        **blob(json.dumps(manifest).encode()),
    }
    index: dict[str, Any] = {"schemaVersion": 2, "manifests": [entry]}
    changes.get("index", lambda _: None)(index)
    files["index.json"] = json.dumps(index).encode()
    replaced: Mapping[str, bytes] = changes.get("blobs", {})
    return tar(member(name, replaced.get(name, content)) for name, content in files.items())


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)
