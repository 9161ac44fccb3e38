"""The engine: a pure fold of journal entries into Session States. Imports the standard library, numpy and numba only."""
