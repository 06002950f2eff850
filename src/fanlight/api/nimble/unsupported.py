"""The operations of Nimble Studio that are not built yet, and why. See `api.appstream.unsupported`."""

from fanlight.api.registry import NotBuilt, not_supported

_REASONS: dict[str, tuple[str, ...]] = {
    "Fanlight has no EULAs yet: the images that it provides need none.": (
        "AcceptEulas",
        "GetEula",
        "ListEulaAcceptances",
        "ListEulas",
    ),
}

NOT_BUILT: tuple[NotBuilt, ...] = tuple(
    not_supported(name, because=because) for because, names in _REASONS.items() for name in names
)
