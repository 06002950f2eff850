"""Archives of root file systems, read as an attacker's.

An archive becomes an image only through `normalise`: what it says is read member by member, checked against one table of
rules, and written anew as a tarball in which nothing leads anywhere but down. That runs in a process of its own
(`confined`): no file, no network, no privilege; archive in, tarball and report out. `spawn` starts it. Nothing here
unpacks anything onto a disk.
"""


class ArchiveRefused(Exception):
    """The archive is not taken. The text names the member and the rule, for the administrator."""
