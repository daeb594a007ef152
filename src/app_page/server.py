"""Serves the page: no analytics, no share link, nothing fetched; uploads are deleted at the end."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

WAITING = 20
"""Most requests that wait for their turn; more are told to come back."""

SECONDS_TO_END = 2
"""For connections that are still open when the page is closed."""

CSS = Path(__file__).with_name("page.css")
SYSTEM_FONTS = ["system-ui", "sans-serif"]
"""gradio's own themes fetch theirs from the network."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder for uploads and edits that exists as long as the page; pages are built within."""
    with TemporaryDirectory(prefix="multi-reward-app-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "uploads")
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        yield Path(folder)


def reserve(address: str, port: int) -> socket.socket:
    """A socket at an address, before anything slow begins; port 0 is any free one.

    Raises:
        ValueError: the port is taken, or the address isn't this machine's.
    """
    reserved = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        reserved.bind((address, port))
    except OSError as error:
        reserved.close()
        raise ValueError(
            f"nothing can be served at address={address} port={port} ({error.strerror or error}); say "
            "port=0 for any free port, or another address"
        ) from error
    return reserved


@contextmanager
def served(page: Any, reserved: socket.socket, most_megabytes: int) -> Iterator[str]:
    """Serve a page in a thread of its own; gives its URL.

    Args:
        page: the `gr.Blocks` of `build_page`; gradio is imported for it alone.
        reserved: where.
        most_megabytes: of an uploaded file; a larger one is refused.
    """
    import uvicorn

    config = uvicorn.Config(
        _application(page, most_megabytes), log_level="warning", timeout_graceful_shutdown=SECONDS_TO_END
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([reserved],), daemon=True)
    thread.start()
    while thread.is_alive() and not server.started:
        time.sleep(0.01)
    try:
        yield _url(reserved)
    finally:
        server.should_exit = True
        thread.join()


def _application(page: Any, most_megabytes: int) -> Any:
    """The page as a web application. `launch` of gradio would ask itself over HTTP whether it runs, which a
    proxy or three busy seconds make fail.
    """
    import gradio as gr
    from fastapi import FastAPI

    page.queue(max_size=WAITING, api_open=False)
    return gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        page,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=True,
        max_file_size=f"{most_megabytes}mb",
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Default(font=SYSTEM_FONTS, font_mono=["ui-monospace", "monospace"]),
        css_paths=[CSS],
    )


def _url(reserved: socket.socket) -> str:
    address, port = reserved.getsockname()[:2]
    return f"http://[{address}]:{port}/" if ":" in address else f"http://{address}:{port}/"
