"""Everything that localmatch raises on purpose.

    LocalmatchError
    ├── ImageError                an image that cannot be read or used
    ├── IndexError_               an index on disk that cannot be used
    │   ├── CorruptIndexError     its bytes are not what was written
    │   └── IncompatibleIndexError  it is from other weights or another format version
    ├── CalibrationError          too few clean images for what is asked
    ├── WeightsError              descriptor weights that do not fit the network
    ├── BackendError              a kernel backend that cannot serve
    └── WorkerError               a worker process that was ended before its work was done

Catch `LocalmatchError` to catch them all. Messages say what was found, what was expected and what to do next.
"""

from __future__ import annotations


class LocalmatchError(Exception):
    """Base of all errors that localmatch raises on purpose."""


class ImageError(LocalmatchError):
    """An image that cannot be read or used; the message names it and says why."""


class IndexError_(LocalmatchError):  # the trailing underscore leaves the builtin alone
    """An index on disk that cannot be used."""


class CorruptIndexError(IndexError_):
    """The bytes of an index are not the bytes that were written."""


class IncompatibleIndexError(IndexError_):
    """An index made by other descriptor weights, or in another format version."""


class CalibrationError(LocalmatchError):
    """Too few clean images for the false-alarm rate that is asked for, or none at all."""


class WeightsError(LocalmatchError):
    """Descriptor weights whose names, shapes or digest are not those of the network."""


class BackendError(LocalmatchError):
    """A kernel backend that was asked for and cannot serve; the message gives every backend's reason."""


class WorkerError(LocalmatchError):
    """A worker process was ended before its work was done."""
