"""A bare Starlette endpoint on uvicorn that reads the body and returns a constant. Arguments: a port and a file."""

import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

CONSTANT = Path(sys.argv[2]).read_bytes()


async def constant(request: Request) -> Response:
    await request.body()
    return Response(CONSTANT, media_type="application/json")


app = Starlette(routes=[Route("/get-online-features", constant, methods=["POST"])])
uvicorn.run(app, port=int(sys.argv[1]), lifespan="off", log_level="warning", access_log=False)
