"""The HTTP client of the OpenAI library, for servers that aren't trusted: a reply has a greatest size, and
pictures and prompts go to the host that the user named and to no other.
"""

from typing import Any, final

import openai

MOST_REDIRECTS = 5


@final
class RedirectedError(Exception):
    """A server sends elsewhere; the message says where."""


@final
class OversizedReplyError(Exception):
    """A reply of more bytes than an answer can have; the message says how many."""


@final
class BoundedClient(openai.DefaultAsyncHttpxClient):
    """Reads replies up to a size, and follows redirects within a server.

    Args:
        most_bytes: of a reply, its headers left aside.
        settings: of the client.
    """

    def __init__(self, most_bytes: int, **settings: Any) -> None:
        # an unpacked reply can be a thousand times larger than what arrives, so it has to come unpacked
        super().__init__(headers={"Accept-Encoding": "identity"}, **settings)
        self.most_bytes = most_bytes

    async def send(self, request: Any, **options: Any) -> Any:
        """The response to a request, read to its end.

        Raises:
            RedirectedError: it leads to another server.
            OversizedReplyError: it is too large.
        """
        options |= {"stream": True, "follow_redirects": False}
        for _ in range(MOST_REDIRECTS):
            response = await super().send(request, **options)
            if not response.has_redirect_location:
                return await self._read(response)
            await response.aclose()
            request = redirected(request, response.next_request)
        raise RedirectedError(f"{origin(request.url)} redirects in a circle")

    async def _read(self, response: Any) -> Any:
        body = bytearray()
        try:
            check_is_plain(response)
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > self.most_bytes:
                    raise OversizedReplyError(f"more than {self.most_bytes / 1e6:.1f} MB")
        finally:
            await response.aclose()
        return type(response)(
            response.status_code,
            headers=response.headers,
            content=bytes(body),
            request=response.request,
            extensions=response.extensions,
        )


def redirected(request: Any, following: Any) -> Any:
    """The request that a redirect asks for.

    Raises:
        RedirectedError: it goes to another server, or loses its encryption.
    """
    if following is None or origin(following.url) != origin(request.url):
        where = "nowhere" if following is None else origin(following.url)
        raise RedirectedError(f"{origin(request.url)} redirects to {where}")
    return following


def origin(url: Any) -> str:
    """Scheme, host and port of an address."""
    return f"{url.scheme}://{url.netloc.decode()}"


def check_is_plain(response: Any) -> None:
    """Raise OversizedReplyError if a reply is packed, so that nobody knows its size."""
    packed = response.headers.get("content-encoding", "identity")
    if packed != "identity":
        raise OversizedReplyError(f"bytes packed as {packed} although plain ones were asked for")
