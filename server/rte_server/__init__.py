"""RTE, a real-time session-state server: what operators run."""
