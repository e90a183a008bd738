"""An answer by FastAPI."""

import fastapi

app = fastapi.FastAPI()


@app.get("/")
def index() -> dict[str, str]:
    return {"hello": "from FastAPI"}
