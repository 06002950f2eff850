"""Fanlight: self-hosted application streaming with an AppStream 2.0 compatible API."""

__version__ = "0.1.0"
