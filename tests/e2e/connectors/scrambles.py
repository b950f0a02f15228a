"""Connector/Python's own answers to challenges of the X Protocol: JSON vectors on standard input, answers as JSON."""

import json
import sys

from mysqlx.authentication import MySQL41AuthPlugin, Sha256MemoryAuthPlugin

PLUGINS = {"MYSQL41": MySQL41AuthPlugin, "SHA256_MEMORY": Sha256MemoryAuthPlugin}

vectors = json.load(sys.stdin)
answers = {
    name: [plugin(one["user"], one["password"]).auth_data(bytes.fromhex(one["nonce"])) for one in vectors]
    for name, plugin in PLUGINS.items()
}
print(json.dumps(answers))
