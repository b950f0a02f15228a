"""Connector/Python, X Protocol: one session without a pool to NAME; prints what it says to that."""

import os
import sys
from urllib.parse import quote

import mysqlx

user, password = (quote(os.environ[key], safe="") for key in ("APP_USER", "APP_PASSWORD"))
try:
    mysqlx.get_session(f"mysqlx+srv://{user}:{password}@{sys.argv[1]}")
except mysqlx.Error as error:
    print(error)
