"""RTE for programs that use it: the generated stubs of the contract in `rte.v1`."""
