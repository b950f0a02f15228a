"""DNS SRV: the order of RFC 2782, a resolver, a zone and its authoritative server.

Knows plain RRsets. Only the controller (`publication`, `controller`, `commands`) knows what a cluster is.
"""
