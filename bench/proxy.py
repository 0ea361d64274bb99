"""The floor: the least a Python server can do between a model and a client, which is to pass its bytes on."""

import argparse
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import uvicorn
import uvloop
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from bench.processes import announce


def build(model_url: str) -> FastAPI:
    """Make an app that hands every completion request to the model server and streams the answer back."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            app.state.session = session
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> StreamingResponse:
        headers = {"Content-Type": "application/json"}
        url = f"{model_url}/chat/completions"
        upstream = await app.state.session.post(url, data=await request.body(), headers=headers)

        async def answer() -> AsyncIterator[bytes]:
            async with upstream:
                async for piece in upstream.content.iter_any():
                    yield piece

        return StreamingResponse(answer(), upstream.status, media_type="text/event-stream")

    return app


class AnnouncingServer(uvicorn.Server):
    """Says its port once it answers there."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            announce(listener.getsockname()[1])


async def serve(model_url: str) -> None:
    """Answer on a free port of the loopback until stopped."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    config = uvicorn.Config(build(model_url), log_level="warning", access_log=False)
    await AnnouncingServer(config).serve(sockets=[listener])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.proxy", description=__doc__)
    parser.add_argument("model_url", help="the model server's address, ending in /v1")
    asked = parser.parse_args()
    uvloop.run(serve(asked.model_url))


if __name__ == "__main__":
    main()
