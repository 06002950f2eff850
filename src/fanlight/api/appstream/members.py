"""What handlers of AppStream ask of members; it stands in `fanlight.api.members`."""

from fanlight.api.members import asks_for_something, refuse

__all__ = ["asks_for_something", "refuse"]
