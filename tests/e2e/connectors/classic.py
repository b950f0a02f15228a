"""Connector/Python, classic protocol: connects NAME, COUNT times; prints server UUID and cipher of each connection."""

import json
import os
import sys

import mysql.connector

WHERE = """
SELECT @@server_uuid, VARIABLE_VALUE FROM performance_schema.session_status WHERE VARIABLE_NAME = 'Ssl_cipher'
"""

name, count = sys.argv[1], int(sys.argv[2])
reached = []
for _ in range(count):
    with mysql.connector.connect(
        dns_srv=True,
        host=name,
        user=os.environ["APP_USER"],
        password=os.environ["APP_PASSWORD"],
        ssl_ca=os.environ["APP_CA"],
        ssl_verify_cert=True,
        connection_timeout=5,
    ) as connection:
        cursor = connection.cursor()
        cursor.execute(WHERE)
        reached.append(cursor.fetchone())
        cursor.close()
print(json.dumps(reached))
