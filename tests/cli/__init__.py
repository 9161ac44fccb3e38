"""Tests of the command line and what it reads."""
