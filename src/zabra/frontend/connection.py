"""[hot] One client connection: frames in, replies out, in order.

A chunk of bytes is served frame by frame in one loop, reads are answered at once, and everything a chunk produced
leaves in one write. A request behind an uncommitted write of its connection waits for it in ``_waiting``; writes
themselves are validated on arrival, in the order they arrive. So each connection sees its replies in the order of its
requests, and the events of a write before whatever shows that write.

    NEW --first frame--> OPENING --session set up--> OPEN --closeSession--> CLOSING --committed--> CLOSED
     |             (nothing is read meanwhile)         |       (nothing more is served)
     `--four-letter word--> CLOSED                     `--error, lost, expired--> CLOSED

Memory stays bounded: a client that does not read its replies is not read from; one that lets watch events pile up
beyond a limit is cut; too many outstanding writes hold back everyone that has some.

Source: ``NIOServerCnxn``, ``ServerCnxn``, ``ZooKeeperServer.processPacket`` (3.9.5).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from itertools import repeat
from struct import Struct
from typing import TYPE_CHECKING, Final, cast

from zabra.auth.ip import address_text
from zabra.consts import Op, Perm, Xid
from zabra.errors import Code, EarlyRefusalError, MarshallingError, RequestError
from zabra.frontend.connection_out import CLOSED, CLOSING, OPEN, OPENING, ConnectionOut
from zabra.frontend.replies import pack_data, pack_reply
from zabra.frontend.throttle import Serve, Verdict
from zabra.pipeline.request import CLIENT_WRITES, Write
from zabra.sessions.tracker import Session
from zabra.tree.node import OPEN_ACL
from zabra.tree.watches import ONE_SHOT
from zabra.wire.frames import four_letter_word

if TYPE_CHECKING:
    from zabra.frontend.hub import Hub
    from zabra.wire.records_data import Identity

_log = logging.getLogger(__name__)

#: Bytes of replies one chunk may produce before the rest of it waits for the socket.
_OUT_MAX: Final = 1 << 21
#: Bytes of requests served in one turn of the loop, and those of the request that crosses the line; the rest waits for
#: the next, so that a client with many requests on their way holds up no other. uvloop reads up to 8 MB in one go.
_TURN_MAX: Final = 1 << 16

_unpack_int = Struct(">i").unpack_from
_unpack_two = Struct(">ii").unpack_from
#: length, xid, type, path length
_unpack_head = Struct(">iiii").unpack_from
#: The same without the length.
_pack_head = Struct(">iii").pack

#: Writes with a way of their own: setData, create, create2.
_FREQUENT_WRITES: Final = frozenset({5, 1, 15})

#: Something that waits behind a write: (op, xid, frame, identities when it arrived).
_Waiting = tuple[int, int, bytes, "tuple[Identity, ...]"]
#: Pseudo opcode of a getData that has nothing but a path and the byte for a watch; those are the frame.
_GET_DATA: Final = -4
#: Pseudo opcodes of what waits without being a read: a refusal (the frame is its code), an unknown request (answered,
#: then the connection ends), a finished reply, a finished reply that is the connection's last, and the end of a session
#: that needed no transaction (answered, then the connection ends).
_REFUSED: Final = -1000
_UNKNOWN: Final = -1001
_READY: Final = -1002
_LAST: Final = -1003
_CLOSED: Final = -1004


class Connection(ConnectionOut, asyncio.Protocol):
    """The protocol object of one accepted socket."""

    # More attributes than instances share the keys of, and a slot is read in less time.
    __slots__ = ("_blocked", "_held", "_needed", "_rest", "_rest_size", "_waiting", "identities", "session")

    #: Bytes before the end of a chunk behind which no frequent request begins: its header, a path length and a byte.
    frequent_min = 17

    def __init__(self, hub: Hub) -> None:
        ConnectionOut.__init__(self, hub)
        self.session: Session | None = None
        #: What the client has proven, ip first; replaced, never changed, so that a waiting request keeps its own.
        self.identities: tuple[Identity, ...] = ()
        #: Uncommitted writes (None) and the requests that wait behind them.
        self._waiting: deque[_Waiting | None] = deque()
        #: Bytes of an incomplete frame, or of everything while reading is held; and how many are needed to go on.
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._needed = 4
        #: Why reading is held, besides a full socket: session being set up, too many writes outstanding.
        self._blocked = False
        self._held = False

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        peer = transport.get_extra_info("peername")
        if peer:
            self.peer = (peer[0], peer[1])
        self.hub.connections[self] = None
        if not self.hub.limits.admit(self.peer[0]):
            self.hub.stats.metrics.connection_rejected.add()
            self.hub.connections.pop(self)
            self.state = CLOSED
            self.transport.abort()
            return
        self.identities = (("ip", address_text(self.peer[0])),)
        if self.hub.settings.client_tcp_keep_alive:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.state < CLOSING:
            self.hub.stats.metrics.connection_drop_count.add()
        if self in self.hub.connections:
            del self.hub.connections[self]
            self.hub.limits.release(self.peer[0])
        self._end()

    def pause_writing(self) -> None:
        self._paused = True
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        self.release()

    def eof_received(self) -> bool:
        return False

    # -- reading

    def data_received(self, chunk: bytes) -> None:
        rest = self._rest
        if rest:
            rest.append(chunk)
            self._rest_size += len(chunk)
            if self._rest_size < self._needed:
                return
            chunk = b"".join(rest)
            rest.clear()
        if self.state == OPEN:
            self._serve(chunk)
        else:
            self._open(chunk)

    def resume(self) -> None:
        """Serve what waited; called when the reason to wait is gone."""
        if self.state >= CLOSING or self._paused or self._held or self._blocked or self.transport.is_closing():
            return
        chunk = b"".join(self._rest)
        self._rest.clear()
        self.transport.resume_reading()
        if chunk:
            self._needed = 4
            self.data_received(chunk)

    @property
    def waiting(self) -> int:
        """Requests not answered yet."""
        return len(self._waiting)

    @property
    def interest(self) -> int:
        """As Java's selection keys: 1 while reading, 4 while the socket takes no more, 0 when closing."""
        if self.state >= CLOSING:
            return 0
        reading = not (self._blocked or self._paused or self._held)
        return reading + 4 * self._paused

    def release(self) -> None:
        """Writes are no longer too many, or the socket is free: read again."""
        self._held = False
        self.resume()

    def _keep(self, chunk: bytes, pos: int, needed: int) -> None:
        """Keep the unserved end of a chunk until ``needed`` bytes are there."""
        if pos < len(chunk):
            self._rest.append(chunk[pos:] if pos else chunk)
            self._rest_size = len(chunk) - pos
            self._needed = needed

    def _serve(self, chunk: bytes) -> None:
        """Serve every whole request of a chunk: the frequent ones here, the others one by one."""
        hub = self.hub
        now = hub.monotonic()
        session = self.session
        assert session is not None
        if now >= session.fresh_until and not hub.touch(session, int(now * 1000)):
            return  # closing: its requests are dropped without an answer
        self.last_seen = now
        tree = hub.tree
        nodes = tree.nodes
        zxid = tree.last_zxid
        limit = hub.frame_limit
        out = self.out
        waiting = self._waiting
        size = len(chunk)
        # Where the last frequent request could begin.
        last = size - self.frequent_min
        pos = reads = count = big = op = xid = 0
        # Writes outstanding before this chunk; -1 until it brings the first frequent one.
        outstanding = -1
        turn = size - 3
        if turn > _TURN_MAX:
            turn = _TURN_MAX
        while pos < turn:
            if pos <= last:
                length, xid, op, path_length = _unpack_head(chunk, pos)
                if op == 4:
                    end = pos + 4 + length
                    # Nothing but a path and a byte behind it; where lengths are nonsense the path is empty.
                    if path_length == length - 13 and end <= size and length <= limit:
                        if waiting and path_length > 0:
                            waiting.append((_GET_DATA, xid, chunk[pos + 16 : end], self.identities))
                            count += 1
                            pos = end
                            continue
                        path = chunk[pos + 16 : end - 1]
                        node = nodes.get(path)
                        if node is not None and (
                            node.acl is OPEN_ACL or hub.access.permits(node.acl, Perm.READ, self.identities, path)
                        ):
                            if chunk[end - 1]:
                                tree.watches.data.add(path, self, ONE_SHOT)
                            pos = end
                            reads += 1
                            data = node.data
                            if data is None:
                                out.append(pack_data(88, xid, zxid, 0, -1) + node.stat)
                                continue
                            length = len(data)
                            out.append(pack_data(length + 88, xid, zxid, 0, length) + data + node.stat)
                            if length > 1024:
                                big += length
                                if big > _OUT_MAX:
                                    break
                            continue
                elif op in _FREQUENT_WRITES:
                    if outstanding < 0:
                        outstanding = hub.pipeline.stamp()
                    run = hub.set_data_run if op == 5 else hub.create_run
                    until = turn if turn <= last else last + 1
                    pos, taken, xid = run(self, session, chunk, pos, until, limit)
                    if taken:
                        if taken == 1:
                            waiting.append(None)
                        else:
                            waiting.extend(repeat(None, taken))
                        count += taken
                        continue
            length = _unpack_int(chunk, pos)[0]
            if not 0 <= length <= limit:
                self._refuse_frame(length)
                break
            end = pos + 4 + length
            if end > size:
                break
            frame = chunk[pos + 4 : end]
            pos = end
            if length < 8:
                self._refuse_frame(length)
                break
            xid, op = _unpack_two(frame)
            count += 1
            big += self._request(op, xid, frame)
            if self.state != OPEN or big > _OUT_MAX:
                break
        if reads or count:
            self.last_op = op
            if xid >= 0:
                self.last_xid = xid
            self.last_zxid = zxid
        if pos == size and reads < 64 and (not count or size < _TURN_MAX):
            # Nothing is left over: the usual end, in a third of the time of the other.
            self.received += reads + count
            stats = hub.stats
            stats.quick_bytes += pos
            if reads:
                self.sent += reads
                stats.quick_reads += reads
            if count:
                stats.packets_received += count
            if out:
                self.flush()
            if waiting:
                if outstanding < 0:
                    outstanding = hub.pipeline.outstanding
                if outstanding + count > hub.outstanding_limit:
                    self._hold_if_crowded(hub.pipeline.outstanding)
        else:
            self._end_chunk(chunk, pos, reads, count, big, now)

    def _hold_if_crowded(self, outstanding: int) -> None:
        """Read no more from this connection while too many writes are outstanding."""
        hub = self.hub
        if outstanding > hub.outstanding_limit and not self._held:
            self._held = True
            hub.held.append(self)
            self.transport.pause_reading()

    def _end_chunk(self, chunk: bytes, pos: int, reads: int, count: int, big: int, now: float) -> None:
        hub = self.hub
        total = reads + count
        hub.stats.packets_received += total
        self.received += total
        hub.stats.metrics.bytes_received_count.value += pos
        if reads:
            latency = 0 if reads < 64 else int((hub.monotonic() - now) * 1000)
            self._count_replies(reads, latency)
            if latency:
                self.note_latency(latency, reads)
            hub.stats.metrics.readlatency.add_many(latency, reads)
        if self.state >= CLOSING:
            # What else the client sent is not served.
            self.flush()
            return
        # The rest of the chunk waits for others to have their turn, or until the socket has taken what is there.
        again = big > _OUT_MAX or pos >= _TURN_MAX
        if again:
            self._keep(chunk, pos, 1 << 62)
        elif pos < len(chunk):
            length = _unpack_int(chunk, pos)[0] if len(chunk) - pos >= 4 else 0
            self._keep(chunk, pos, length + 4)
        self.flush()
        if self._waiting:
            self._hold_if_crowded(hub.pipeline.outstanding)
        if again and not self._held:
            # Go on with the next turn at the earliest; with the socket's say if it is full by then.
            self._held = True
            self.transport.pause_reading()
            hub.call_soon(self.release)

    def _refuse_frame(self, length: int) -> None:
        _log.warning("closing %s:%d: frame of %d bytes", *self.peer, length)
        self.close()

    # -- before the session

    def _open(self, chunk: bytes) -> None:
        """NEW: a four-letter word or the connect request. OPENING or held: keep everything."""
        hub = self.hub
        if self.state >= CLOSING:
            return
        self.last_seen = hub.clock.monotonic()
        if self._blocked:
            self._keep(chunk, 0, 1 << 62)
            return
        if len(chunk) < 4:
            self._keep(chunk, 0, 4)
            return
        word = four_letter_word(chunk[:4])
        if word is not None:
            self._answer_word(word, chunk)
            return
        if not hub.running:
            if not hub.waits:
                self.close()
                return
            self._keep(chunk, 0, 1 << 62)
            self.transport.pause_reading()
            return
        length = _unpack_int(chunk, 0)[0]
        if not 0 <= length <= hub.frame_limit:
            self._refuse_frame(length)
            return
        end = 4 + length
        if len(chunk) < end:
            self._keep(chunk, 0, end)
            return
        hub.stats.packets_received += 1
        hub.stats.metrics.bytes_received_count.value += end
        self.received += 1
        self._keep(chunk, end, 1 << 62)
        self.state = OPENING
        self._blocked = True
        self.transport.pause_reading()
        hub.attach.connect(self, chunk[4:end])

    def _answer_word(self, word: str, chunk: bytes) -> None:
        if word == "stmk" and len(chunk) < 12 and word in self.hub.settings.four_letter_whitelist:
            self._keep(chunk, 0, 12)
            return
        stats = self.hub.stats
        stats.settle()
        stats.packets_received += 1
        stats.metrics.bytes_received_count.value += 4
        self.received += 1
        self.state = CLOSING
        self.write(self.hub.four_letter(word, chunk[4:12]))
        stats.packets_sent += 1
        self.close()

    def hold(self, op: int, serve: Serve) -> None:
        """Serve something that a limit on requests could hold back, were there one."""
        serve(Verdict.SERVE)

    def opened(self, session: Session, reply: bytes) -> None:
        """The session is set up: send the connect reply and serve what the client sent behind its request."""
        self.session = session
        session.owner = self
        self.timeout_ms = session.timeout_ms
        self.state = OPEN
        self._blocked = False
        self.write(reply)
        self.sent += 1
        self.touch_dirty()
        self.hub.call_soon(self.resume)

    def session_opened(self, session: Session) -> None:
        """The createSession of this connection committed."""
        if self.state != CLOSED:
            self.hub.attach.finish(self, session)
            self.last_op = Op.CREATE_SESSION
            self.last_xid = 0
            self.last_zxid = self.hub.tree.last_zxid

    # -- requests

    def _request(self, op: int, xid: int, frame: bytes) -> int:
        """Serve or submit one request; returns the bytes of its reply if that was large."""
        session = self.session
        assert session is not None
        try:
            if op in CLIENT_WRITES:
                self.hub.pipeline.submit(self, session, xid, op, frame)
                self._waiting.append(None)
                return 0
            if op == Op.CLOSE_SESSION:
                self.state = CLOSING
                if self.hub.pipeline.close_session(self, session, xid):
                    self._waiting.append(None)
                else:
                    self._later_or_now((_CLOSED, xid, b"", ()))
                return 0
            if op == Op.SYNC and self.hub.pipeline.sync(self, session, xid, frame):
                self._waiting.append(None)
                return 0
        except MarshallingError:
            self._refuse(xid, Code.MARSHALLING_ERROR)
            return 0
        except EarlyRefusalError as error:
            self.reply_in_order(pack_reply(16, xid, 0, error.code))
            return 0
        except RequestError as error:
            # Refused before anything was submitted: an ephemeral of a local session, a write without a quorum.
            self.state = OPEN
            self._refuse(xid, error.code)
            return 0
        if op in (Op.AUTH, Op.SASL):
            self.hub.gate.authenticate(self, op, xid, frame)
            return 0
        if not self.hub.reads.knows(op):
            self.state = CLOSING
            self._later_or_now((_UNKNOWN, xid, b"", ()))
            return 0
        if op == Op.PING:
            xid = Xid.PING
        if self._waiting:
            self._waiting.append((op, xid, frame, self.identities))
            return 0
        return self._read(op, xid, frame, self.identities)

    def _refuse(self, xid: int, code: int) -> None:
        self._later_or_now((_REFUSED, xid, code.to_bytes(4, "big", signed=True), ()))

    def reply_in_order(self, reply: bytes) -> None:
        """Send a finished reply once everything before it is answered."""
        self._later_or_now((_READY, 0, reply, ()))

    def say_goodbye(self, reply: bytes) -> None:
        """Send a finished reply in order, then close; nothing more is served."""
        self.state = CLOSING
        self._later_or_now((_LAST, 0, reply, ()))

    def _later_or_now(self, item: _Waiting) -> None:
        if self._waiting:
            self._waiting.append(item)
        else:
            self._read(*item)

    def _read(self, op: int, xid: int, frame: bytes, identities: tuple[Identity, ...]) -> int:
        hub = self.hub
        zxid = hub.tree.last_zxid
        body = b""
        code = 0
        if op > _REFUSED:
            hub.stats.metrics.readlatency.add_many(hub.turn_latency_ms, 1)
            try:
                body = hub.reads.serve(self, op, frame, identities)
            except RequestError as error:
                code = error.code
            except MarshallingError:
                code = Code.MARSHALLING_ERROR
        elif op == _REFUSED:
            code = _unpack_int(frame, 0)[0]
        elif op in (_UNKNOWN, _CLOSED):
            unknown = op == _UNKNOWN
            self.out.append(pack_reply(16, xid, -1 if unknown else zxid, Code.UNIMPLEMENTED if unknown else 0))
            self._count_replies(1, 0)
            self.close()
            return 0
        else:
            self.out.append(frame)
            self._count_replies(1, 0)
            if op == _LAST:
                self.close()
            return 0
        size = len(body)
        self.out.append(pack_reply(size + 16, xid, zxid, code) + body)
        self._count_replies(1, 0)
        return size if size > 1024 else 0

    # -- commits and events

    def answer_write(self, xid: int, zxid: int, body: bytes, err: int) -> None:
        """Queue the reply of a committed write, then serve what waited behind it."""
        if self.state == CLOSED:
            return
        self.out.append(pack_reply(16 + len(body), xid, zxid, err) + body)
        self.sent += 1
        self.last_zxid = zxid
        waiting = self._waiting
        waiting.popleft()
        if waiting and waiting[0] is not None:
            self._drain(waiting)
        if not self.dirty:
            self.dirty = True
            self.hub.dirty.append(self)

    def answer_writes(self, replies: list[bytes], zxid: int) -> None:
        """The same for finished replies of writes between which nothing waits; ``zxid`` is that of the last."""
        if self.state == CLOSED:
            return
        self.out += replies
        count = len(replies)
        self.sent += count
        self.last_zxid = zxid
        waiting = self._waiting
        if len(waiting) == count:
            waiting.clear()
        else:
            for _ in replies:
                waiting.popleft()
            if waiting and waiting[0] is not None:
                self._drain(waiting)
        if not self.dirty:
            self.dirty = True
            self.hub.dirty.append(self)

    def answer_sync(self, xid: int, body: bytes) -> None:
        """The same for a sync that went to the leader; no commit's turn writes its reply."""
        if self.state == CLOSED:
            return
        self.touch_dirty()
        self.answer_write(xid, self.hub.tree.last_zxid, body, 0)
        self.hub.stats.packets_sent += 1
        self.hub.stats.record(1, 0)

    def _drain(self, waiting: deque[_Waiting | None]) -> None:
        """Serve the requests up to the next uncommitted write."""
        tree = self.hub.tree
        zxid = tree.last_zxid
        nodes = tree.nodes
        out = self.out
        reads = 0
        while waiting:
            item = waiting[0]
            if item is None or self.state == CLOSED:
                break
            waiting.popleft()
            op, xid, frame, identities = item
            if op == _GET_DATA:
                path = frame[:-1]
                node = nodes.get(path)
                if node is not None and node.acl is OPEN_ACL:
                    if frame[-1]:
                        tree.watches.data.add(path, self, ONE_SHOT)
                    reads += 1
                    data = node.data
                    if data is None:
                        out.append(pack_data(88, xid, zxid, 0, -1) + node.stat)
                        continue
                    length = len(data)
                    out.append(pack_data(length + 88, xid, zxid, 0, length) + data + node.stat)
                    continue
                op = 4
                frame = _pack_head(xid, 4, len(path)) + frame
            self._read(op, xid, frame, identities)
        if reads:
            latency = self.hub.turn_latency_ms
            self._count_replies(reads, latency)
            self.hub.stats.metrics.readlatency.add_many(latency, reads)

    def session_closed(self, write: Write) -> None:
        """The closeSession that this client asked for committed: answer, then close."""
        if self.state != CLOSED:
            self.out.append(pack_reply(16, write.xid, write.zxid, 0))
            self.sent += 1
            self.close()

    # -- the end

    def close(self) -> None:
        """Write what is queued, then close; nothing more is read or answered."""
        if self.state == CLOSED:
            return
        self.flush()
        self._end()
        self.transport.close()

    def abort(self) -> None:
        """Cut without writing."""
        self._end()
        self.transport.abort()

    def _end(self) -> None:
        if self._waiting and self.hub.settings.request_stale_connection_check:
            # Their replies will find nobody; that of a closeSession need not.
            self.hub.stats.metrics.stale_replies.add(len(self._waiting) - (self.state == CLOSING))
        self.state = CLOSED
        self._waiting.clear()
        self._rest.clear()
        if self.hub.running:
            self.hub.tree.watches.remove_watcher(self)
            self.hub.attach.forget(self)
        session = self.session
        if session is not None and session.owner is self:
            session.owner = None
