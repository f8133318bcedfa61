"""Is there a plan? The cheapest way to know for certain."""

import hashlib

from data.errors import PlanError
from sharding_plans.explaining.needs import table_needs
from sharding_plans.planning.offline import plan_offline
from sharding_plans.planning.request import PlanRequest

_known: dict[str, bool] = {}
"""Answers by request, for the life of the process: searches for remedies of many strategies come to the same requests."""


class Checker:
    """Answers for one search for remedies, and counts what it cost.

    Yes means that the planner found a plan; no may come from memory bounds alone, which are cheap. After `limit` plans every
    new answer is no, so that a search ends.
    """

    def __init__(self, limit: int = 100) -> None:
        self._limit = limit
        self.num_planned = 0

    def __call__(self, request: PlanRequest) -> bool:
        """Whether the planner finds a plan for the request."""
        key = hashlib.sha256(repr(request).encode()).hexdigest()
        if key not in _known:
            if self.num_planned >= self._limit:
                return False
            self.num_planned += 1
            _known[key] = is_feasible(request)
        return _known[key]


def is_feasible(request: PlanRequest) -> bool:
    """Whether the planner finds a plan for the request: bounds first, then a search that ends at its first plan."""
    try:
        if not table_needs(request).may_fit:
            return False
        plan_offline(request, first_plan_only=True)
    except PlanError:
        return False
    return True
