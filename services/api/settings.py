"""Settings of services/api beyond everybody's."""

from __future__ import annotations

from typing import Annotated

from services.api.decide.plan import read_plans
from shared.mail import MailSettings
from shared.settings import Var

SECRET_MIN_CHARS = 32  # 256 bits for HMAC-SHA256 (RFC 7518, 3.2)

GRACE_DAYS_MAX = 365


class ApiSettings(MailSettings, frozen=True, kw_only=True):
    """The public API's."""

    simulator_url: Annotated[
        str,
        Var(
            "EIGHTMS_SIMULATOR_URL",
            "control address of the host of simulated phones, http://…; empty: there is none",
        ),
    ] = ""
    erasure_settle_s: Annotated[
        float,
        Var(
            "EIGHTMS_ERASURE_SETTLE_S",
            "seconds after which nothing is on its way any more that began before an erasure; "
            "longer than any request takes",
        ),
    ] = 10.0
    rate_key: Annotated[
        float,
        Var(
            "EIGHTMS_RATE_KEY",
            "requests a second of a key or user, two seconds' worth at once; 0: no limit",
        ),
    ] = 1000.0
    rate_workspace: Annotated[
        float, Var("EIGHTMS_RATE_WORKSPACE", "the same of one workspace together; 0: no limit")
    ] = 2000.0
    requests_kept_days: Annotated[
        int, Var("EIGHTMS_REQUESTS_KEPT_DAYS", "how long the request log is kept; 0: there is none")
    ] = 7
    proxy_hops: Annotated[
        int,
        Var(
            "EIGHTMS_PROXY_HOPS",
            "proxies of yours in front, each of which adds to X-Forwarded-For; 0: none, and the "
            "header is not believed",
        ),
    ] = 0
    stripe_secret_key: Annotated[
        str,
        Var(
            "STRIPE_SECRET_KEY",
            "sk_test_… or sk_live_…, or a restricted key; empty: no billing, everything unlimited",
        ),
    ] = ""
    stripe_webhook_secret: Annotated[
        str,
        Var(
            "STRIPE_WEBHOOK_SECRET",
            "whsec_… of the endpoint /stripe/webhook; several, comma separated, while it changes",
        ),
    ] = ""
    stripe_api_base: Annotated[
        str, Var("STRIPE_API_BASE", "another address than Stripe's own, for tests")
    ] = ""
    stripe_tax: Annotated[
        bool, Var("EIGHTMS_STRIPE_TAX", "Stripe Tax computes taxes at the check-out")
    ] = False
    plans: Annotated[
        str,
        Var(
            "EIGHTMS_PLANS",
            "JSON list of plans, the free one first, as in docs/billing.md; empty: ours",
        ),
    ] = ""
    grace_days: Annotated[
        int,
        Var("EIGHTMS_GRACE_DAYS", "days a plan goes on after a payment failed"),
    ] = 14

    supabase_url: Annotated[
        str,
        Var(
            "SUPABASE_URL",
            "people sign in with this Supabase project; empty: with the sign-in that is built in",
        ),
    ] = ""
    supabase_jwt_secret: Annotated[
        str,
        Var(
            "SUPABASE_JWT_SECRET",
            "only for a Supabase project that still signs with its JWT secret (HS256); empty: its "
            "public keys are used, and HS256 is refused",
        ),
    ] = ""
    redirect_origins: Annotated[
        str,
        Var(
            "EIGHTMS_REDIRECT_ORIGINS",
            "where a sign-in link may lead besides EIGHTMS_PUBLIC_URL: origins, comma separated",
        ),
    ] = ""

    def __post_init__(self) -> None:
        """ValueError, which `load` turns into BadSetting: at the start, not at a customer's."""
        super().__post_init__()
        if self.supabase_jwt_secret and not self.supabase_url:
            raise ValueError("SUPABASE_JWT_SECRET is set, but not SUPABASE_URL")
        if self.supabase_jwt_secret and len(self.supabase_jwt_secret) < SECRET_MIN_CHARS:
            raise ValueError(
                f"SUPABASE_JWT_SECRET must have {SECRET_MIN_CHARS} characters at least"
            )
        if self.supabase_url and not self.supabase_url.startswith(("https://", "http://")):
            raise ValueError("SUPABASE_URL must be https://…")
        read_plans(self.plans)
        if self.stripe_secret_key and not self.webhook_secrets:
            raise ValueError("STRIPE_SECRET_KEY is set, but not STRIPE_WEBHOOK_SECRET")
        if not 0 <= self.grace_days <= GRACE_DAYS_MAX:
            raise ValueError(f"EIGHTMS_GRACE_DAYS must be 0 to {GRACE_DAYS_MAX}")

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """The secrets of the webhook endpoint, any of which is good."""
        return tuple(filter(None, (s.strip() for s in self.stripe_webhook_secret.split(","))))

    @property
    def origins(self) -> frozenset[str]:
        """Where a sign-in link may lead besides our own address."""
        texts = (text.strip().rstrip("/").lower() for text in self.redirect_origins.split(","))
        return frozenset(filter(None, texts))
