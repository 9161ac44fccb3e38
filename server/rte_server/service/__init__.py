"""The gRPC services: thin translations between the contract and the engine."""
