"""Services: what can be asked of this installation, one method per intent.

Each method owns its transaction, raises DomainErrors only and knows no wire: handlers, the control server and the
command line call the same ones. They record wishes and wake the reconcilers; they never wait for an engine.
"""

from fanlight.services.bundle import AppStreamServices

__all__ = ["AppStreamServices"]
