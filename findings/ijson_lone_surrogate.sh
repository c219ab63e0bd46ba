#!/usr/bin/env bash
# ijson 3.6.0 (C backend): in a JSON text, the escape of half a surrogate pair becomes "?" without an error,
# although JSON's grammar allows it (RFC 8259, section 8.2) and Python's json keeps it. NaN and integers
# beyond 64 bits, which json.dump writes and json.load reads, are refused. So a data set streamed with ijson
# can differ from the same file read by json.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'ijson==3.6.0'
"$folder/venv/bin/python" - <<'PYTHON'
import io
import json

import ijson

text = b'["half \\ud800 of a pair"]'
streamed, read = next(ijson.items(io.BytesIO(text), "item")), json.loads(text)[0]
print("backend:", ijson.backend_name)
print("ijson:", ascii(streamed))
print("json: ", ascii(read))
assert (streamed, read) == ("half ? of a pair", "half \ud800 of a pair")
for value in (float("nan"), 2**64):
    text = json.dumps([value]).encode()
    try:
        print(list(ijson.items(io.BytesIO(text), "item", use_float=True)))
        raise SystemExit(f"{text} is read now")
    except ijson.JSONError as error:
        print(f"{text.decode()}: {str(error).splitlines()[0]}")
PYTHON
