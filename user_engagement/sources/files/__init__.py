"""Source `files`: a folder with a file, or a folder of files, for each raw table."""

from user_engagement.sources.files.source import FilesSource

__all__ = ["FilesSource"]
