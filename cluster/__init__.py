"""Members of a MySQL cluster: who they are, what was seen of them, and what follows from it.

Knows nothing of DNS, routes or Kubernetes. `observations.py`, `diagnosis.py` and `topology.py` decide;
`probe.py` and `watch.py` await.
"""
