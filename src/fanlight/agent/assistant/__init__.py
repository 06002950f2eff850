"""The Image Assistant: what an administrator of an image builder says about the image to be made.

It runs inside the builder, as its root: a command line with the operations and answers of AppStream's own, and a
window that does the same in steps. Both change the catalogue in the builder's root file system, where it stays over
stops and starts and goes along into the image; only creating the image needs the agent, and through it the host.
"""
