#!/bin/sh
# The parser of python-dotenv tells for each binding of an .env where it stands, but the line that it
# tells is that of the first blank line before it: blank lines belong to the binding that follows.  Who
# names a line to a user has to count the line ends at the start of the binding's own text.
# Guessed before: `original.line` is the line on which the name stands.
# Seen with python-dotenv 1.2.4.  Source: run it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check python-dotenv==1.2.4
"$folder/venv/bin/python" - <<'PY'
import importlib.metadata, io, sys
from dotenv.parser import parse_stream
print("python-dotenv", importlib.metadata.version("python-dotenv"))
text = "A=1\n\n\nB=2\n"
found = {one.key: (one.original.line, one.original.string) for one in parse_stream(io.StringIO(text))}
for name, (line, string) in found.items():
    print(f"{name} is told to be on line {line}, with the text {string!r}")
print("B stands on line", text.split("\n").index("B=2") + 1)
sys.exit(0 if found["B"][0] == 2 else 1)
PY
