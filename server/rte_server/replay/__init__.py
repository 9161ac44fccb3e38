"""Replay: recorded files, CSV or NDJSON, to the wire form of events."""
