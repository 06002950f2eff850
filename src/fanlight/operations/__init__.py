"""What an operator does to an installation as a whole: back it up, restore it, remove it, hand it to systemd, give it TLS.

`commands.register` puts all of it on the command line; every other module here does work and prints nothing.
"""
