"""`/openapi.json`, and `/docs`: Swagger UI for it, from files of a Python package."""

import json
from importlib import resources
from pathlib import Path
from typing import Final

from aiohttp import web

from server.openapi.document import openapi_document

_FILES: Final = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
}

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


def docs_routes() -> list[web.RouteDef]:
    """Make the routes of the document, the page and its files; the page loads no other site."""
    document = json.dumps(openapi_document()).encode()

    async def openapi(_: web.Request) -> web.Response:
        return web.Response(body=document, content_type="application/json")

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html")

    async def file(request: web.Request) -> web.FileResponse:
        name = request.match_info["name"]
        if name not in _FILES:
            raise web.HTTPNotFound
        path = Path(str(resources.files("swagger_ui") / "static" / name))
        return web.FileResponse(path, headers={"Content-Type": _FILES[name]})

    return [
        web.get("/openapi.json", openapi),
        web.get("/docs", page),
        web.get("/docs/{name}", file),
    ]
