"""Connector/Python, X Protocol: connects NAME, COUNT times; prints server UUID and cipher of each session.

Each time with a client (a pool) of its own: a single session of it takes no SRV name, see docs/clients.md.
"""

import json
import os
import sys
from urllib.parse import quote

import mysqlx

WHERE = """
SELECT @@server_uuid, VARIABLE_VALUE FROM performance_schema.session_status
WHERE VARIABLE_NAME = 'Mysqlx_ssl_cipher'
"""

name, count = sys.argv[1], int(sys.argv[2])
user, password, ca = (quote(os.environ[key], safe="") for key in ("APP_USER", "APP_PASSWORD", "APP_CA"))
uri = f"mysqlx+srv://{user}:{password}@{name}?ssl-mode=VERIFY_CA&ssl-ca={ca}&connect-timeout=5000"
reached = []
for _ in range(count):
    client = mysqlx.get_client(uri, {"pooling": {"max_size": 1}})
    row = client.get_session().sql(WHERE).execute().fetch_one()
    reached.append([row[0], row[1]])
    client.close()
print(json.dumps(reached))
