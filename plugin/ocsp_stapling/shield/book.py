"""The answers of one moment in one piece of memory, which the relay's processes share and nobody changes.

No object of Python's stands for an answer: each process that used such objects would come to own a copy of them.
"""

from __future__ import annotations

import mmap
import os
import struct
from bisect import bisect_left

TYPE_CHECKING = False  # `typing` itself would be a tenth of what the relay loads
if TYPE_CHECKING:
    from ocsp_stapling.shield.store import Kept

TRY_LATER = bytes.fromhex("30030a0103")
"""OCSPResponse { responseStatus tryLater } (RFC 6960 section 4.2.1)."""
_COUNT = struct.Struct("=Q")
_RECORD = struct.Struct("=QqqHH")
"""Before CertID and answer: their file's number and time, until when it may be handed out, how long both are."""
_EMPTY = _COUNT.pack(0)
_CERT_ID_WITHIN = 1024
"""So far from its begin a question is searched for a CertID; Apache's stands in the first hundred bytes."""
_HASH = b"\x04\x14"
_HASH_BYTES = 22


def cert_id_of(question: bytes) -> bytes:
    """Return the CertID asked about: name hash, key hash, serial number; b"" if there is none.

    It is two hashes of twenty bytes and a number, as SHA-1 has them (RFC 6960 section 4.1.1). The first one is
    Apache's: what a visitor adds stands in the extensions, which follow.
    """
    begin = question.find(_HASH, 0, _CERT_ID_WITHIN)
    while begin >= 0:
        key, serial = begin + _HASH_BYTES, begin + 2 * _HASH_BYTES
        if question.startswith(_HASH, key) and question.startswith(b"\x02", serial):
            length = int.from_bytes(question[serial + 1 : serial + 2])
            number = question[serial + 2 : serial + 2 + length]
            if 0 < len(number) == length < 128:
                return question[begin + 2 : key] + question[key + 2 : serial] + number
        begin = question.find(_HASH, begin + 1, _CERT_ID_WITHIN)
    return b""


class Book:
    """A number, so many hashes of CertIDs in order, where the record of each begins, and the records."""

    def __init__(self, memory: bytes | mmap.mmap = _EMPTY) -> None:
        view = memoryview(memory)
        self.count = _COUNT.unpack_from(view)[0]
        begins, records = _COUNT.size + 8 * self.count, _COUNT.size + 16 * self.count
        # Python's hash of bytes is keyed by a secret of this process, and of those that it forks.
        self._hashes = view[_COUNT.size : begins].cast("q")
        self._begins = view[begins:records].cast("Q")
        self._records = view[records:]

    def answer(self, question: bytes, now: float) -> bytes:
        """Return the answer to a question, tryLater if none is known that is still valid."""
        cert_id = cert_id_of(question)
        place = bisect_left(self._hashes, hash(cert_id))
        if place == self.count:
            return TRY_LATER
        begin = self._begins[place]
        *_, until, id_length, length = _RECORD.unpack_from(self._records, begin)
        middle = begin + _RECORD.size + id_length
        same = self._records[begin + _RECORD.size : middle] == cert_id
        return bytes(self._records[middle : middle + length]) if same and until > now else TRY_LATER

    def by_file(self) -> dict[tuple[int, int], tuple[int, memoryview]]:
        """Return hash and record of each, by the number and the time of its file."""
        found = {}
        for place in range(self.count):
            begin = self._begins[place]
            number, time, _, id_length, length = _RECORD.unpack_from(self._records, begin)
            record = self._records[begin : begin + _RECORD.size + id_length + length]
            found[number, time] = self._hashes[place], record
        return found


def opened(descriptor: int) -> Book:
    """Return the book that was written to this file."""
    return Book(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ))


def write(directory: str, before: Book, descriptor: int) -> None:
    """Write the book of what the directory holds now; what did not change is taken from the one before.

    Damaged files are passed over (`shield status` names them).
    """
    # What reading a file needs (JSON, digests) is as large as all the rest, and the relay's workers never read one.
    from pathlib import Path

    from ocsp_stapling.shield import store

    known, found = before.by_file(), list[tuple[int, bytes | memoryview]]()
    for path in store.entries(Path(directory)):
        try:
            status = path.stat()
            same = known.get((status.st_ino, status.st_mtime_ns))
            found.append(same or _record(store.read(path), status))
        except (OSError, ValueError, struct.error):
            continue
    found.sort(key=lambda each: each[0])
    begins, end = [], 0
    for _, record in found:
        begins.append(end)
        end += len(record)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(_COUNT.pack(len(found)))
        file.write(struct.pack(f"={len(found)}q", *(key for key, _ in found)))
        file.write(struct.pack(f"={len(found)}Q", *begins))
        file.writelines(record for _, record in found)


def _record(kept: Kept, status: os.stat_result) -> tuple[int, bytes]:
    cert_id = bytes.fromhex(kept.cert_id)
    facts = status.st_ino, status.st_mtime_ns, kept.until, len(cert_id), len(kept.answer)
    return hash(cert_id), _RECORD.pack(*facts) + cert_id + kept.answer
