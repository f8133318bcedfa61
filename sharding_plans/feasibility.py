"""Is there a plan? The cheapest way to know for certain."""

from data.errors import PlanError
from sharding_plans.needs import table_needs
from sharding_plans.offline import plan_offline
from sharding_plans.request import PlanRequest


class Checker:
    """Answers for one search for remedies, each request once, and counts what it cost.

    Yes means that the planner found a plan; no may come from memory bounds alone, which are cheap. After `limit` plans every
    answer is no, so that a search ends.
    """

    def __init__(self, limit: int = 60) -> None:
        self._limit = limit
        self._known: dict[str, bool] = {}
        self.num_planned = 0

    def __call__(self, request: PlanRequest) -> bool:
        """Whether the planner finds a plan for the request."""
        key = repr(request)
        if key not in self._known:
            self._known[key] = self._look(request)
        return self._known[key]

    def _look(self, request: PlanRequest) -> bool:
        try:
            if not table_needs(request).may_fit or self.num_planned >= self._limit:
                return False
            self.num_planned += 1
            plan_offline(request, first_plan_only=True)
        except PlanError:
            return False
        return True
