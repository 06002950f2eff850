"""Nimble Studio's services: what can be asked of studios and of what stands in them. See `fanlight.services`."""

from fanlight.services.nimble.bundle import NimbleServices

__all__ = ["NimbleServices"]
