"""Between the kernel and rclone, for folders that have a quota: what does not fit is refused while it is written."""
