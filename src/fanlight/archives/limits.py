"""What an archive may have at most. Each is far above any honest image and low enough that no archive hurts the host."""

MAX_MEMBERS = 500_000  # a full desktop has some 150,000
MAX_TOTAL_IN_BYTES = 32 * 2**30  # of all contents together, decompressed
MAX_FILE_IN_BYTES = 16 * 2**30
MAX_DISK_IN_BYTES = 2**40  # what the guest would see of a disk; most of it holes
MAX_PATH = 1024
MAX_COMPONENT = 255
MAX_DEPTH = 64
MAX_LINK = 1024
MAX_HEADER_IN_BYTES = 64 * 1024  # of one extension header (long names, extended attributes)
MAX_LAYERS = 128
MAX_MANIFEST_IN_BYTES = 4 * 2**20
MAX_ID = 65_534  # an instance owns 65,536 ids
MAX_WINDOW_IN_BYTES = 128 * 2**20  # of memory that a decompressor may ask for
MAX_KEPT_IN_BYTES = 256 * 1024  # of one small file that is looked into: a desktop entry, /etc/passwd
MAX_KEPT_FILES = 500
MAX_ICON_IN_BYTES = 4 * 2**20
MAX_REPORT_IN_BYTES = 32 * 2**20
