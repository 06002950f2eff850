"""AppStream 2.0: one handler for each operation, one module for each resource."""
