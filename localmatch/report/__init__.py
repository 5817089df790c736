"""The report folder: results as data, pictures, and a page that opens from disk."""

from localmatch.report.writer import write_report

__all__ = ["write_report"]
