"""The settings of applications, from one session of a user to the next: an archive of what the user's home says of them."""
