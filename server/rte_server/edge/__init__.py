"""The one public port: Envoy's configuration and descriptor set, and the supervisors of Envoy and of the bridges."""

from rte_server.edge.bridge import Bridge, BridgeSettings
from rte_server.edge.settings import EdgeError, EdgeSettings
from rte_server.edge.supervisor import Edge, check_port

__all__ = ["Bridge", "BridgeSettings", "Edge", "EdgeError", "EdgeSettings", "check_port"]
