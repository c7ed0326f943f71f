"""Errors of the connections package; the API maps each to a problem.

ConnectionProblem
├── NotConfigured           the client id or secret is not known yet
├── ManagedByEnvironment    the environment sets it, so the API may not
├── UnknownTenant           a named organisation is not among those authorised
├── NoTenantSelected        an empty selection, or nothing selected yet
├── ReconnectRequired       every picked organisation that could be read needs a connection that lives
└── InvalidReturnPath       the path to return to after a consent is not a plain path of the frontend
"""


class ConnectionProblem(RuntimeError):
    """A request about a connection cannot be fulfilled; the message says why and what to do."""


class NotConfigured(ConnectionProblem):
    pass


class ManagedByEnvironment(ConnectionProblem):
    pass


class UnknownTenant(ConnectionProblem):
    pass


class NoTenantSelected(ConnectionProblem):
    pass


class ReconnectRequired(ConnectionProblem):
    pass


class InvalidReturnPath(ConnectionProblem):
    pass
