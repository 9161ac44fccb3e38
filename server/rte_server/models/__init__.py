"""Models: YAML files to checked specifications that the engine runs. Filters of queries are compiled here, too."""

from rte_server.models.cel import compile_filter
from rte_server.models.facts import facts_about, facts_entry, facts_of, fold_request
from rte_server.models.loader import (
    compile_model,
    compile_models,
    configuration_of,
    load_models,
    load_pack,
    read_source,
)
from rte_server.models.problems import ModelError, Problem
from rte_server.models.shipped import pack_names, shipped_names, shipped_path

__all__ = [
    "ModelError",
    "Problem",
    "compile_filter",
    "compile_model",
    "compile_models",
    "configuration_of",
    "facts_about",
    "facts_entry",
    "facts_of",
    "fold_request",
    "load_models",
    "load_pack",
    "pack_names",
    "read_source",
    "shipped_names",
    "shipped_path",
]
