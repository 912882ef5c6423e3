"""Is it alive, is it ready, how does it do: for supervisors and Prometheus, without a token and without secrets."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from aggregator.api.access import public, services_of

router = APIRouter(tags=["health"], dependencies=[Depends(public())])


@router.get("/livez")
async def livez() -> dict[str, str]:
    """200 while the event loop answers at all."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "Not ready; says which check failed."}})
async def readyz(request: Request) -> Response:
    """200 if every check passes, else 503; each check with what is wrong."""
    checks = await services_of(request).health.ready()
    is_ready = all(fault is None for fault in checks.values())
    answers = {name: fault or "ok" for name, fault in checks.items()}
    body = {"status": "ok" if is_ready else "not ready", "checks": answers}
    return JSONResponse(body, 200 if is_ready else 503)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Prometheus text format."""
    return Response(services_of(request).metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")
