"""The API: JSON over HTTP, one file per noun; each route shows who may call it, what it takes and what it gives.

Nothing is imported here: what a request may say is checked for `--try`, too, which needs no server and no store.
"""
