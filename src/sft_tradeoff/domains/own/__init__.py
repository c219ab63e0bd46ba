"""The user's own data, from a file or folder."""
