"""The control server: what the gateway may ask, over a Unix socket, in the words of `controlwire`."""

from fanlight.control.app import make_control_app, serve_control
from fanlight.control.changes import SessionChanges

__all__ = ["SessionChanges", "make_control_app", "serve_control"]
