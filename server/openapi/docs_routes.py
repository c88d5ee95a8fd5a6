"""`/openapi.json`, and `/docs`: Swagger UI for it, from files of a Python package."""

from importlib import resources
from pathlib import Path
from typing import Final

from aiohttp import web

from server.access.route_access import Access
from server.web.parameters import PathParameter
from server.web.route import Route

_FILES: Final = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
}
_NAME: Final = PathParameter("name", "The file.")

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Roomcast API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#api", validatorUrl: null });
</script>
</body>
</html>
"""


async def _openapi(_: web.Request, document: bytes) -> web.Response:
    return web.Response(body=document, content_type="application/json")


async def _page(_: web.Request, __: bytes) -> web.Response:
    return web.Response(text=_PAGE, content_type="text/html")


async def _file(request: web.Request, _: bytes) -> web.FileResponse:
    name = request.match_info["name"]
    if name not in _FILES:
        raise web.HTTPNotFound
    path = Path(str(resources.files("swagger_ui") / "static" / name))
    return web.FileResponse(path, headers={"Content-Type": _FILES[name]})


ROUTES: Final[tuple[Route[bytes], ...]] = (
    Route(method="GET", path="/openapi.json", access=Access.ANYONE, handler=_openapi),
    Route(method="GET", path="/docs", access=Access.ANYONE, handler=_page),
    Route(
        method="GET",
        path="/docs/{name}",
        access=Access.ANYONE,
        handler=_file,
        parameters=(_NAME,),
    ),
)
"""Their context is the document; the page loads nothing from another site."""
