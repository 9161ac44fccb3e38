"""Envoy, the one public port: its configuration, its descriptor set, and the supervisor of its process."""

from rte_server.edge.settings import EdgeError, EdgeSettings
from rte_server.edge.supervisor import Edge, check_port

__all__ = ["Edge", "EdgeError", "EdgeSettings", "check_port"]
