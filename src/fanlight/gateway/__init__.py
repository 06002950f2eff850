"""The gateway: redeems streaming URLs, serves the session page, relays the browser's socket to the instance.

A process of its own, unprivileged: no database, no Incus, no services. All it knows it asks on the control socket; what
it keeps is a cookie key and, while they are open, streams. Every request head is authorised by itself; only an upgraded
WebSocket is spliced, and from then on the relay copies bytes and parses nothing. What a guest sends as HTTP is never
passed on as it came: heads are rebuilt, documents become attachments, listings become JSON.
"""
