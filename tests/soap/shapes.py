"""A contract with every shape that protobuf has, compiled from `shapes.proto`, and random messages of it."""

from __future__ import annotations

import importlib.resources
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from rte_soap.contract import Contract, reduced

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "shapes.v1"


@cache
def _compiled() -> bytes:
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    roots = [Path(__file__).parent, ROOT / "bridges" / "rte_soap", ROOT / "proto" / "third_party", well_known]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "shapes.pb"
        command = [sys.executable, "-m", "grpc_tools.protoc", *(f"-I{root}" for root in roots)]
        command += ["--include_imports", "--include_source_info", f"--descriptor_set_out={target}"]
        subprocess.run([*command, "shapes.proto", "soap.proto"], check=True)
        return target.read_bytes()


def shapes_descriptors() -> FileDescriptorSet:
    """Return the descriptor set, to be changed at will."""
    return reduced(FileDescriptorSet.FromString(_compiled()), PACKAGE)


@cache
def shapes_contract() -> Contract:
    """Return the contract."""
    return Contract(shapes_descriptors(), PACKAGE)
