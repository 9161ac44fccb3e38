"""The `rte` command."""
