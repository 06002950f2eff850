"""The storage process: what keeps users' files, and the servers through which instances reach their own part of it."""
