"""The HTTP API: a server beside the engine, or by itself. Every route calls one method of the app.

`routes.py` has the table of all routes; what is checked, documented and tested comes from it. The
packages that it needs are the extra `server`; nothing but `server.py` is imported from outside.
"""
