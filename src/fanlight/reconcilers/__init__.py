"""Reconcilers: observe, plan (in `domain`), apply. One object at a time, many objects at once, safe to kill anywhere."""

from fanlight.reconcilers.reconcilers import Reconcilers
from fanlight.reconcilers.settings import ReconcilerSettings

__all__ = ["ReconcilerSettings", "Reconcilers"]
