"""A page by Flask."""

import flask

app = flask.Flask(__name__)


@app.get("/")
def index() -> str:
    return "Hello from Flask\n"
