"""Put the routers together into one application, and refuse to if a route does not say who may call it."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Depends, FastAPI

from aggregator.api import auth, discharge_stops, fleet, grid_signals, health, openadr, site
from aggregator.api.access import UndeclaredAccess, public, undeclared
from aggregator.api.ports import Services
from aggregator.api.problems import BodyLimit, add_problem_handlers


def create_app(services: Services) -> FastAPI:
    """The HTTP side of the service.

    Raises:
        UndeclaredAccess: a route, perhaps of `services.web_router`, declares no policy.
    """
    app = FastAPI(
        title="V2G aggregator", version=version("v2g-aggregator"), openapi_url=None, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.add_middleware(BodyLimit)
    add_problem_handlers(app)
    for router in (
        health.router, auth.router, openadr.router, grid_signals.router, fleet.router, site.router,
        discharge_stops.router,
    ):
        app.include_router(router)
    app.include_router(_description(app))
    if services.web_router is not None:
        app.include_router(services.web_router)
    if faults := undeclared(app):
        raise UndeclaredAccess(f"routes without a declared access policy: {', '.join(faults)}")
    return app


def _description(app: FastAPI) -> APIRouter:
    router = APIRouter(dependencies=[Depends(public())], include_in_schema=False)

    @router.get("/openapi.json")
    async def description() -> dict[str, Any]:
        return app.openapi()

    return router
