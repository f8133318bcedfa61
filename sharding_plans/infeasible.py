"""The error for a request that is well put and has no answer: what the explainer takes up. Light: no torch here."""

from data.errors import PlanError


class InfeasiblePlan(PlanError):
    """No plan exists for the request; other PlanErrors are about the request itself."""
