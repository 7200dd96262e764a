"""Who may come in, and what for: tokens where there are some, this machine alone where there are none."""

from thermocline.domain.access import Scope
from thermocline.domain.hosts import is_loopback
from thermocline.interfaces.http.cors import CorsRules
from thermocline.interfaces.http.exchange import Exchange
from thermocline.interfaces.http.foreigners import host_name, is_local_peer, origin_name
from thermocline.interfaces.http.problems import Problem, ProblemError
from thermocline.services.authorizing import OWNER, AuthorizingService
from thermocline.wiring.sections import HttpSettings

_MAX_HOSTS = 1024
_MAX_HOST_LENGTH = 300  # longer than any name with its port
_READS = frozenset({"GET", "HEAD", "OPTIONS"})

NO_TOKEN = Problem(
    401,
    "unauthorized",
    "A token is needed",
    "Send a valid token as 'Authorization: Bearer tc_...'; 'thermocline token create' makes one.",
    ((b"www-authenticate", b'Bearer realm="thermocline"'),),
)


def _forbidden(detail: str) -> Problem:
    return Problem(403, "forbidden", "Forbidden", detail)


class Gate:
    """Decides about callers. Rights to single contents that nobody may guess at are decided where they are read."""

    def __init__(self, authorizing: AuthorizingService, settings: HttpSettings, cors: CorsRules) -> None:
        self._authorizing = authorizing
        self._cors = cors
        self._own_names = frozenset(map(host_name, (*settings.allowed_hosts, settings.host)))
        self._judged: dict[str, bool] = {}

    async def admit(self, exchange: Exchange) -> None:
        """Set the exchange's caller. Raises `ProblemError` (403) for a foreign call while no token exists."""
        token = exchange.head.token
        caller = self._authorizing.known(token)
        if caller is None:
            caller = await self._authorizing.identify(token)
        if caller is OWNER:
            self._refuse_foreign(exchange)
        exchange.caller = caller

    def is_own_host(self, host: str | None) -> bool:
        """Whether `host` is a name of this service while it is open; an absent one is no browser's."""
        if host is None:
            return True
        judged = self._judged.get(host)
        if judged is None:
            if len(host) > _MAX_HOST_LENGTH:
                return False
            if len(self._judged) >= _MAX_HOSTS:
                self._judged.clear()
            judged = self._judged[host] = self._is_own_name(host_name(host))
        return judged

    def _is_own_name(self, name: str) -> bool:
        return is_loopback(name) or name in self._own_names

    def _refuse_foreign(self, exchange: Exchange) -> None:
        head = exchange.head
        client = exchange.scope.get("client")
        if not is_local_peer(client[0] if client else None):
            raise ProblemError(
                _forbidden(
                    "As long as no access token exists, only this machine may call the service. "
                    "Create one with 'thermocline token create'."
                )
            )
        if not self.is_own_host(head.host):
            raise ProblemError(
                _forbidden(
                    "As long as no access token exists, the service answers only to names of this machine. "
                    "Create a token with 'thermocline token create', or add the name to [http] allowed_hosts."
                )
            )
        if self._is_cross_site(exchange):
            raise ProblemError(
                _forbidden(
                    "As long as no access token exists, pages of other sites may not call the service. "
                    "Create a token with 'thermocline token create', or list the origin in [http] cors_origins."
                )
            )

    def _is_cross_site(self, exchange: Exchange) -> bool:
        origin = exchange.head.get(b"origin")
        if origin is None:
            return exchange.head.get(b"sec-fetch-site") == "cross-site"
        name = origin_name(origin)
        if name is not None and self._is_own_name(name):
            return False
        return not (self._cors.lists(origin) and exchange.head.method in _READS)


def require(exchange: Exchange, scope: Scope, content_id: str = "") -> None:
    """Return if the caller has `scope` on `content_id` (empty: on everything). Raises `ProblemError`: 401 or 403."""
    caller = exchange.caller
    if caller.may(scope, content_id):
        return
    if caller.token_id is None:
        raise ProblemError(NO_TOKEN)
    where = f"content ids that start with {caller.prefix!r}" if scope in caller.scopes else "what it was made for"
    raise ProblemError(
        _forbidden(f"The token is valid, but only for {where}. This needs the scope '{scope}'; use another token.")
    )


def require_overview(exchange: Exchange) -> None:
    """Return if the caller may see statistics of everything: `read` without a prefix, or `admin`. Raises likewise."""
    if not exchange.caller.may(Scope.ADMIN):
        require(exchange, Scope.READ)
