"""The wire: HTTP/1.1 between a socket and ASGI, with hot reads answered from memory on the way.

`guarded` is uvicorn's protocol with its gaps mended (limits, time limits, refusals as problem documents);
`protocol` adds answers that never reach ASGI; `remembering` skips even the parser for requests seen before;
`server` runs an ASGI application on them. What the rest of Thermocline has to provide is in `hot_reads`.
"""
