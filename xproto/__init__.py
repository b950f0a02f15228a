"""X Protocol client: frames, messages, authentication, rows, notices, session. Knows nothing of clusters.

The public surface is `xproto.session` (opens sessions), `xproto.tls` (modes, and the contexts that keep what they
promise), `xproto.client` (results and limits), `xproto.notices`, `xproto.errors` and `xproto.codec.encode_error`. This
file imports nothing, so that `python -m xproto.generate` runs before there is any generated code.
"""
