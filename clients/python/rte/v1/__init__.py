"""Messages and services of the package `rte.v1`, generated from `proto/rte/v1` by `make gen`."""
