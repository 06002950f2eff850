"""My Files: what the session page may do with its user's home folder, through the door that the session has anyway."""
