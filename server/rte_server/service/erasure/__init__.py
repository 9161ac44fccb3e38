"""Erasing a person: in the state, in the journal, in snapshots, and in RTE's own tables in the data mart."""
