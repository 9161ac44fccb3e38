"""The journal: every change in order, durable before it is acknowledged, and the snapshots that shorten its replay."""
