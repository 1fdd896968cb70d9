"""The one small tree of errors that every zone raises.

`public` is what a caller may read: never another tenant's data, a path or a secret. `private` is for the
operator's log only. HTTP status codes are not here: `gateway/http_errors.py` maps them at the edge.
"""

from __future__ import annotations


class PartywallError(Exception):
    """Base of all errors; `code` is stable and machine-readable (kebab-case)."""

    default_code = "error"

    def __init__(
        self,
        public: str,
        *,
        code: str | None = None,
        private: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(public)
        self.code = code or self.default_code
        self.public = public
        self.private = private
        self.retry_after_s = retry_after_s


class CallerFault(PartywallError):
    """The caller can mend it: nothing was changed.

    about: the resource that a provider had already found when it refused, so that the wall can first say whether the
    caller may know of it at all.
    """

    default_code = "caller-fault"
    about: object = None


class Malformed(CallerFault):
    """The bytes are not what the interface accepts."""

    default_code = "malformed"


class Unauthenticated(CallerFault):
    """No valid credential was presented."""

    default_code = "unauthenticated"


class NotFound(CallerFault):
    """It does not exist for this caller; another tenant's resource is also this."""

    default_code = "not-found"


class Conflict(CallerFault):
    """It exists already, or changed since it was read."""

    default_code = "conflict"


class LimitExceeded(CallerFault):
    """A size, rate, depth, time or spend limit was hit."""

    default_code = "limit-exceeded"


class Denied(CallerFault):
    """Policy answered no; raised only at the edge, from a verdict (inside, a verdict is an answer)."""

    default_code = "denied"


class ApprovalRequired(CallerFault):
    """Policy wants an approval that binds this call's digest."""

    default_code = "approval-required"


class ProviderFault(PartywallError):
    """The thing behind the wall failed after the permit was minted."""

    default_code = "provider-fault"


class ProviderTimeout(ProviderFault):
    """The provider did not answer in time; the effect is unknown."""

    default_code = "provider-timeout"


class ProviderRefused(ProviderFault):
    """The provider answered that it will not."""

    default_code = "provider-refused"


class BadReply(ProviderFault):
    """The provider's answer is not what its protocol allows."""

    default_code = "bad-reply"


class SandboxFault(PartywallError):
    """A sandbox failed to launch, broke a rule, or crashed."""

    default_code = "sandbox-fault"


class Unavailable(PartywallError):
    """A dependency of the decision is out of reach: the answer is no, until it is back."""

    default_code = "unavailable"


class Bug(PartywallError):
    """An invariant did not hold; the road stops here."""

    default_code = "internal"
