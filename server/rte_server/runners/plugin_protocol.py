"""What the server and the process of a plug-in say to each other. Imports nothing: each process of a plug-in loads it."""

from __future__ import annotations

import struct

GROUP = "rte.scorers"
"""The group of entry points."""

# Both ways: a head, then as many bytes as it says.
REQUEST_HEAD = struct.Struct("<II")  # rows, inputs; then float32
ANSWER_HEAD = struct.Struct("<BI")  # OK, BROKEN, UNKNOWN or NO_MEMORY, bytes; then float64, or a text
OK, BROKEN, UNKNOWN, NO_MEMORY = range(4)

NEAR = "; did you mean "
"""What follows in the text of UNKNOWN where an installed plug-in has a name like the one that is asked for."""
