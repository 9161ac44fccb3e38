"""Why an attribute of a session has its value: the events behind it, its rule, the inputs of a score."""

from rte_server.service.explain.evidence import Chosen
from rte_server.service.explain.explainer import Explainer, Wanted
from rte_server.service.explain.journal_search import JournalSearch

__all__ = ["Chosen", "Explainer", "JournalSearch", "Wanted"]
