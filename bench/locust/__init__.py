"""Load by Locust: writers, readers and the CQRS pattern through the router, with a sample application and Prometheus.

`application` and `users` run in an environment of their own (`requirements-locust.lock`) and import nothing of ours.
"""
