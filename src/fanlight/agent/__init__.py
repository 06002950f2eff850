"""The agent: process 1 of every instance.

It brings up display and sound, waits for the host to give the instance to one user, runs that user's applications, and
says how it is. It comes with the runtime that is mounted from the host, so an image cannot change it. Standard library
and `agentwire` only; `stream` alone touches Selkies, in a process of its own.
"""
