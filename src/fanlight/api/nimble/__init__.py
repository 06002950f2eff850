"""Handlers of Nimble Studio: typed request → Nimble's services → typed result."""
