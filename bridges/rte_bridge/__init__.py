"""What the bridges have in common: processes behind Envoy that are clients of the gRPC contract.

problems   what a bridge refuses itself
bodies     bodies of requests, within limits
serving    the process: its HTTP server, its channel to the gRPC server
"""
