"""Pages for a browser: the console, and the API's documentation as Swagger UI and as ReDoc.

Every file comes from the service itself, so that the pages work where a browser reaches nothing else.
"""

from pathlib import Path

import fastapi_offline
from fastapi import FastAPI
from fastapi.responses import FileResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles

CONSOLE = Path(__file__).parents[1] / "console"
REFERENCE = CONSOLE / "reference"
LIBRARIES = Path(fastapi_offline.__file__).parent / "static"
REDOC_SCRIPT = "redoc.standalone.js"
# ReDoc shows its maker's logo from a CDN, which no option changes; it leaves out an image that cannot be loaded.
REDOC_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"


def include_pages(app: FastAPI) -> None:
    """Add the pages to an application made without the framework's documentation, which loads from a public CDN."""
    _include_console(app)
    _include_reference(app)


def _include_console(app: FastAPI) -> None:
    app.mount("/console", StaticFiles(directory=CONSOLE, html=True), name="console")

    @app.get("/", include_in_schema=False)
    async def show_console() -> RedirectResponse:
        return RedirectResponse("/console/")

    # The callback sends the browser to `/console?xero=<outcome>`. The mount matches no path without a slash at its
    # end, and a redirect would drop the query.
    @app.get("/console", include_in_schema=False)
    async def show_console_without_slash() -> FileResponse:
        return FileResponse(CONSOLE / "index.html")


def _include_reference(app: FastAPI) -> None:
    @app.get("/docs", include_in_schema=False)
    async def show_swagger_ui() -> FileResponse:
        return FileResponse(REFERENCE / "swagger-ui.html")

    @app.get("/redoc", include_in_schema=False)
    async def show_redoc() -> FileResponse:
        return FileResponse(REFERENCE / "redoc.html")

    @app.get(f"/docs/assets/{REDOC_SCRIPT}", include_in_schema=False)
    def read_redoc_script() -> Response:
        script = (LIBRARIES / REDOC_SCRIPT).read_bytes().replace(REDOC_LOGO, b"")
        return Response(script, media_type="text/javascript")

    app.mount("/docs/assets", StaticFiles(directory=LIBRARIES), name="documentation_libraries")
