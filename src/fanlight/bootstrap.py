"""Composition root: the only place where adapters meet services. Imported by the command line and e2e tests only."""
