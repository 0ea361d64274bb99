"""A real Nginx with the configuration that the guide hands out, on this machine or on another one."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.processes import ROOT
from tests.namespaces import Machine

CONFIGURATION = ROOT / "deploy" / "nginx" / "rugpt.conf"
TELEGRAM = "127.0.0.12"  # from where a test calls as Telegram does
AROUND = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/rugpt.conf;
}}
"""


@asynccontextmanager
async def nginx(
    folder: Path, engine: str, *, vpn: str = "127.0.0.0/30", machine: Machine | None = None
) -> AsyncIterator[int]:
    """Run Nginx before an engine, given as `host:port`, and give its port; on a machine that is 443."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    assert program is not None, "scripts/test --system brings Nginx"
    host, port = (machine.address, 443) if machine else ("127.0.0.1", _free_port())
    (folder / "rugpt.conf").write_text(filled_in(engine, f"{host}:{port}", vpn), encoding="utf-8")
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(machine.command() if machine else ()),
        *(program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")),
    )
    try:
        async with asyncio.timeout(20):
            while not await answers(host, port):
                said = folder / "error.log"
                assert process.returncode is None, said.read_text() if said.exists() else "nginx ended"
                await asyncio.sleep(0.05)
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def filled_in(engine: str, listen: str, vpn: str) -> str:
    """Return the configuration with a test's own in the places that are the reader's to fill in."""
    text = CONFIGURATION.read_text("utf-8")
    for theirs, ours in {
        "listen 443 ssl;": f"listen {listen};",
        "server 127.0.0.1:8100;": f"server {engine};",
        "allow 10.8.0.0/24;": f"allow {vpn};",
        "allow 149.154.160.0/20;": f"allow {TELEGRAM};",
        "ssl_certificate     /etc/ssl/rugpt/fullchain.pem;": "",
        "ssl_certificate_key /etc/ssl/rugpt/key.pem;": "",
    }.items():
        assert text.count(theirs) == 1, theirs
        text = text.replace(theirs, ours)
    return text


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


async def answers(host: str, port: int) -> bool:
    """Whether somebody listens."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except ConnectionRefusedError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def raw_status(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, bytes]:
    """Ask for a path exactly as it is written: clients like to tidy them."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split(b" ", 2)[1]), answer
