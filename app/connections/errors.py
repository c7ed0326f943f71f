"""Errors of the connections package; the API maps each to a problem."""


class ConnectionProblem(RuntimeError):
    """What was asked of a connection cannot be done; the message says why and what to do."""


class NotConfigured(ConnectionProblem):
    pass


class ManagedByEnvironment(ConnectionProblem):
    pass


class UnknownTenant(ConnectionProblem):
    pass


class NoTenantSelected(ConnectionProblem):
    pass


class InvalidReturnPath(ConnectionProblem):
    pass
