"""A synthetic shop: visitors that behave plausibly, the same for the same seed. Pure: no clock, no network."""
