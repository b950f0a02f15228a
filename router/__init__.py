"""The routing proxy: listening ports, the choice of a member, and the bytes between.

`settings.py`, `routes.py`, `refusals.py` and `tables.py` decide; the rest awaits.
"""
