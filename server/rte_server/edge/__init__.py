"""The one public port: Envoy's configuration and descriptor set, and the supervisors of Envoy and of the bridges."""

from rte_server.edge.settings import EdgeError, EdgeSettings
from rte_server.edge.soap_bridge import SoapBridge, SoapSettings
from rte_server.edge.supervisor import Edge, check_port

__all__ = ["Edge", "EdgeError", "EdgeSettings", "SoapBridge", "SoapSettings", "check_port"]
