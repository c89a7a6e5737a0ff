"""Wiring of services/api: the frame calls these (shared/service.py)."""

from __future__ import annotations

import gc
from collections.abc import Sequence

from aiohttp import web

from services.api import dispatch
from services.api.act import Sweeper
from services.api.api import Api
from services.api.billing.reconciler import Reconciler
from services.api.erasure import Eraser
from services.api.operations import OPERATIONS
from services.api.routes.dashboard import Dashboard
from services.api.routes.dev_mail import DevMail
from services.api.routes.docs import Docs
from services.api.routes.sign_in import NoSignIn, SignInRoutes
from services.api.routes.site import Site
from services.api.routes.stripe import StripePages
from services.api.tasks.clerk import Clerk
from services.api.tasks.kinds import KINDS
from shared.http import FRAME
from shared.service import Context
from shared.worker import Actor

API = "api"  # where the context keeps it
# Objects made per request die young; looking at the oldest generations for them only takes time.
GC_THRESHOLDS = (20_000, 50, 100)


def routes(app: web.Application, context: Context) -> None:
    """Every operation and page into ``app``."""
    api = context.extra[API] = Api(context)
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.route, dispatch.handler(api, operation))
    Site(OPERATIONS, api.public_url).add_to(app)
    Docs(api.public_url).add_to(app)
    Dashboard().add_to(app)
    here = api.sign_in.here
    (SignInRoutes(api, here) if here else NoSignIn(api.sign_in.supabase_url)).add_to(app)
    if api.sign_in.shows_mail:
        DevMail(api.sign_in.post).add_to(app)
    app.on_response_prepare.append(api.answering.prepare)
    app[FRAME].answered = api.answering.answered
    StripePages(api.billing).add_to(app)


def actors(context: Context) -> Sequence[Actor]:
    """What only the leading instance does."""
    api = context.extra[API]
    eraser = Eraser(api, context.settings.erasure_settle_s)
    acting: list[Actor] = [Sweeper(context), Clerk(api, KINDS), eraser]
    return [*acting, Reconciler(context, api.billing)] if api.billing.enabled else acting


async def start(context: Context) -> None:
    """Begin what runs beside the requests."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    await context.extra[API].start()


async def stop(context: Context) -> None:
    """End it."""
    await context.extra[API].stop()
