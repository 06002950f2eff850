"""The simulated engine's image store, and the catalogue of the sample images.

An image here is a catalogue: DATA_DIR/images/<store_ref>/catalogue.json, the same file that the real build writes.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from fanlight import __version__
from fanlight.domain.errors import ImageMissing, PublishRefused
from fanlight.domain.images import MADE_HERE
from fanlight.domain.ports import Power, StoredImage
from fanlight.drivers.simulated.records import Records

_COLOURS = {
    "text-editor": (65, 131, 215),
    "calculator": (77, 175, 124),
    "terminal": (24, 34, 48),
    "firefox": (245, 130, 53),
    "drawing": (155, 89, 182),
}
_ICON_SIZE = 128
_KEPT = "simulated.json"  # what is remembered of an image that was imported or published
SIMULATED_SIZE_IN_BYTES = 300_000_000  # of a published image, as the sample image is in truth


def _application(name: str, display_name: str, launch_path: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "display_name": display_name,
        "launch_path": launch_path,
        "launch_parameters": "",
        "working_directory": "",
        "icon": f"{name}.png",
        "description": description,
        "enabled": True,
    }


def _catalogue(store_ref: str, name: str, base: str | None, applications: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "store_ref": store_ref,
        "name": name,
        "display_name": name.replace("-", " "),
        "description": "Simulated: sessions show a drawn test picture, no Debian runs.",
        "created_at": "2026-01-01T00:00:00Z",
        "agent_version": f"simulated-{__version__}",
        "base_image_name": base,
        "applications": applications,
    }


SAMPLE_CATALOGUES: tuple[dict[str, Any], ...] = (
    _catalogue("fanlight-base", "Fanlight-Base-Debian13", None, []),
    _catalogue(
        "fanlight-sample",
        "Fanlight-Sample-Debian13",
        "Fanlight-Base-Debian13",
        [
            _application("text-editor", "Text Editor", "/usr/bin/mousepad", "Write plain text"),
            _application("calculator", "Calculator", "/usr/bin/galculator", "Do sums"),
            _application("terminal", "Terminal", "/usr/bin/xfce4-terminal", "Use the command line"),
            _application("firefox", "Firefox", "/usr/bin/firefox-esr", "Browse the web"),
            _application("drawing", "Drawing", "/usr/bin/mtpaint", "Draw and edit pictures"),
        ],
    ),
)


def write_catalogues(images_dir: Path) -> None:
    """Put the sample images into DATA_DIR/images, each with drawn icons. Idempotent."""
    for catalogue in SAMPLE_CATALOGUES:
        home = images_dir / str(catalogue["store_ref"])
        (home / "icons").mkdir(parents=True, exist_ok=True)
        for application in catalogue["applications"]:
            icon = home / "icons" / str(application["icon"])
            if not icon.exists():
                _draw_icon(str(application["name"])).save(icon, "PNG")
        fresh = home / "catalogue.json.new"
        fresh.write_text(json.dumps(catalogue, indent=2) + "\n", encoding="utf-8")
        fresh.replace(home / "catalogue.json")


def _draw_icon(name: str) -> Image.Image:
    icon = Image.new("RGBA", (_ICON_SIZE, _ICON_SIZE), (0, 0, 0, 0))
    pen = ImageDraw.Draw(icon)
    pen.rounded_rectangle(
        (8, 8, _ICON_SIZE - 8, _ICON_SIZE - 8), radius=24, fill=(*_COLOURS.get(name, (90, 90, 90)), 255)
    )
    pen.text((_ICON_SIZE / 2, _ICON_SIZE / 2), name[0].upper(), fill="white", anchor="mm", font_size=64)
    return icon


def _size_of(archive: Path) -> int:
    return archive.stat().st_size


class SimulatedImageStore:
    """Knows the images whose catalogue stands in `images_dir`, and those that were published from instances.

    `images_dir` is DATA_DIR/images: what is simulated beside it in DATA_DIR/simulated can be published.
    """

    def __init__(self, images_dir: Path) -> None:
        self._images_dir = images_dir
        self._instances = Records(images_dir.parent / "simulated" / "instances")

    def has(self, ref: str) -> bool:
        home = self._images_dir / ref
        return ref.replace("-", "").isalnum() and any((home / name).is_file() for name in ("catalogue.json", _KEPT))

    def properties_of(self, ref: str) -> Mapping[str, str]:
        """Return what was kept with an image; nothing for one that is not there."""
        kept = self._images_dir / ref / _KEPT
        properties: Mapping[str, str] = (
            json.loads(kept.read_text(encoding="utf-8"))["properties"] if kept.exists() else {}
        )
        return properties

    async def import_rootfs(self, ref: str, archive: Path, properties: Mapping[str, str]) -> None:
        """Take the properties; there is no root file system to keep."""
        home = self._images_dir / ref
        self._keep(ref, {"size_in_bytes": _size_of(archive), "properties": dict(properties)})
        if not ref.startswith(MADE_HERE) and not (home / "catalogue.json").exists():
            (home / "catalogue.json").write_text(json.dumps(_catalogue(ref, ref, None, [])), encoding="utf-8")

    async def observe(self) -> Sequence[StoredImage]:
        if not self._images_dir.is_dir():
            return []
        found = []
        for home in sorted(self._images_dir.iterdir()):
            if self.has(home.name):
                kept = home / _KEPT
                members = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
                found.append(
                    StoredImage(
                        ref=home.name,
                        size_in_bytes=members.get("size_in_bytes", 0),
                        properties=members.get("properties", {}),
                    )
                )
        return found

    async def delete(self, ref: str) -> None:
        """Unknown is success. The catalogue goes with the image; icons stay until the next import replaces them."""
        if self.has(ref):
            (self._images_dir / ref / "catalogue.json").unlink(missing_ok=True)
            (self._images_dir / ref / _KEPT).unlink(missing_ok=True)
            with suppress(OSError):  # it has icons
                (self._images_dir / ref).rmdir()

    async def publish(self, instance_id: str, ref: str, properties: Mapping[str, str]) -> None:
        """Remember that there is such an image: no instance here has a disk. Raises PublishRefused."""
        if self.has(ref):
            return
        power = {record.spec.instance_id: record.power for record in self._instances.all()}.get(instance_id)
        if power is not Power.STOPPED:
            why = "it is not there" if power is None else f"it is {power}"
            raise PublishRefused(f"The instance {instance_id} cannot be published: {why}.")
        self._keep(ref, {"size_in_bytes": SIMULATED_SIZE_IN_BYTES, "properties": dict(properties)})

    async def copy(self, ref: str, new_ref: str, region: str) -> None:
        """Raises ImageMissing."""
        _ = region  # all are served by this engine
        if self.has(new_ref):
            return
        source = next((image for image in await self.observe() if image.ref == ref), None)
        if source is None:
            raise ImageMissing(ref)
        self._keep(new_ref, {"size_in_bytes": source.size_in_bytes, "properties": dict(source.properties)})

    def _keep(self, ref: str, members: Mapping[str, Any]) -> None:
        home = self._images_dir / ref
        home.mkdir(parents=True, exist_ok=True)
        fresh = home / f"{_KEPT}.new"
        fresh.write_text(json.dumps(members), encoding="utf-8")
        fresh.replace(home / _KEPT)

    async def warm(self, ref: str) -> None:
        if not self.has(ref):
            raise ImageMissing(ref)
