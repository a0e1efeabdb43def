#!/usr/bin/python3
"""What the Python library remembers, without gRPC: the test is the gateway's end of each stream."""
import pathlib
import queue
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / 'upstream' / 'python'))
import paradox_upstream as library  # noqa: E402
from paradox_upstream import wire  # noqa: E402

CLIENT, OTHER = '6ba7b810-9dad-41d1-80b4-00c04fd430c8', '7ba7b810-9dad-41d1-80b4-00c04fd430c8'
KIND = wire.SessionEvent


class Worker(library.Handler):
    def __init__(self):
        self.told = queue.Queue()

    def on_opened(self, client, opened):
        self.told.put(('opened', client, 'again') if opened.continued else ('opened', client))

    def on_bytes(self, client, data, offset):
        self.told.put(('bytes', client, data, offset))

    def on_closed(self, client, reason):
        self.told.put(('closed', client, reason))

    def next(self):
        return self.told.get(timeout=5)


class GatewayEnd:
    """A stream whose lane is attached."""

    def __init__(self, upstream, lane, claim=0):
        self.upstream, self.stream = upstream, library.Stream()
        upstream._streams.append(self.stream)
        hello = wire.Hello(version=1, capabilities=library.CAPABILITIES, instance_id='gateway', lane=lane)
        self.say(wire.InputStreamRequest(hello=hello))
        self.attach(lane, claim)
        assert self.messages()[0].HasField('hello')

    def say(self, message):
        self.upstream._take(self.stream, message)

    def attach(self, lane, claim=0):
        position = wire.LanePosition(lane=lane, sequence=0, attach=True, claim=claim)
        self.say(wire.InputStreamRequest(lanes=[position]))

    def event(self, kind, client='', **fields):
        self.say(wire.InputStreamRequest(client_uuid=client, event=wire.SessionEvent(kind=kind, **fields)))

    def bytes(self, client, payload, offset):
        self.say(wire.InputStreamRequest(client_uuid=client, payload=payload, offset=offset))

    def messages(self):
        """What waits to be written beside replies."""
        with self.upstream._lock:
            out = [message for message, _ in self.stream.control]
            self.stream.control.clear()
        return out

    def break_off(self):
        self.upstream._gone(self.stream)


class PythonLibrary(unittest.TestCase):
    def setUp(self):
        self.worker = Worker()
        self.upstream = library.Upstream(self.worker)

    def test_asks_after_whom_a_list_leaves_out(self):
        first = GatewayEnd(self.upstream, 70)
        first.event(KIND.KIND_OPENED, CLIENT, offset=7)
        first.event(KIND.KIND_OPENED, OTHER)
        first.event(KIND.KIND_LISTED)
        self.assertEqual(first.messages(), [])
        first.break_off()
        again = GatewayEnd(self.upstream, 70)
        again.event(KIND.KIND_OPENED, OTHER, continued=True)
        again.event(KIND.KIND_LISTED)
        [question] = again.messages()
        self.assertEqual([(mark.client_uuid, mark.offset) for mark in question.marks], [(CLIENT, 7)])
        again.event(KIND.KIND_CLOSED, CLIENT, reason='unknown')
        told = [self.worker.next() for _ in range(3)]
        self.assertEqual(told, [('opened', CLIENT), ('opened', OTHER), ('closed', CLIENT, 'unknown')])

    def test_asks_after_the_clients_of_a_lane_that_comes_over(self):
        first, second = GatewayEnd(self.upstream, 70), GatewayEnd(self.upstream, 71)
        first.event(KIND.KIND_OPENED, CLIENT, offset=7)
        first.break_off()
        second.attach(70)
        [question] = second.messages()
        self.assertEqual([(mark.client_uuid, mark.offset) for mark in question.marks], [(CLIENT, 7)])

    def test_has_bytes_once_though_a_list_comes_before_another_forwarders_word(self):
        first = GatewayEnd(self.upstream, 70)
        first.event(KIND.KIND_OPENED, CLIENT)
        first.bytes(CLIENT, b'abc', 0)
        first.break_off()
        GatewayEnd(self.upstream, 70).event(KIND.KIND_LISTED)
        heir = GatewayEnd(self.upstream, 71)
        heir.event(KIND.KIND_OPENED, CLIENT, continued=True)
        heir.bytes(CLIENT, b'abc', 0)
        heir.bytes(CLIENT, b'cd', 2)
        told = [self.worker.next() for _ in range(3)]
        self.assertEqual(told, [('opened', CLIENT), ('bytes', CLIENT, b'abc', 0), ('bytes', CLIENT, b'd', 3)])

    # Streams are read in no order among one another: what a dead forwarder had sent may be read last.

    def test_an_attachment_that_is_read_late_does_not_take_the_lane_from_its_heir(self):
        dead, heir = GatewayEnd(self.upstream, 70, claim=1), GatewayEnd(self.upstream, 70, claim=3)
        heir.event(KIND.KIND_OPENED, CLIENT)
        dead.attach(70, claim=2)
        dead.break_off()
        self.upstream.send(CLIENT, b'answer')
        self.assertIs(self.upstream._lanes['gateway', 70].stream, heir.stream)
        self.assertEqual(self.upstream._next(heir.stream).payload, b'answer')

    def test_announcements_and_bytes_that_are_read_late_do_not_move_a_client(self):
        dead, heir = GatewayEnd(self.upstream, 70), GatewayEnd(self.upstream, 71)
        heir.event(KIND.KIND_OPENED, CLIENT, announcement=2)
        dead.event(KIND.KIND_OPENED, CLIENT, announcement=1)
        dead.bytes(CLIENT, b'ab', 0)
        self.assertIs(self.upstream._sessions[CLIENT].home, heir.stream.own)
        heir.event(KIND.KIND_CLOSED, CLIENT)
        dead.bytes(CLIENT, b'ab', 0)
        self.assertNotIn(CLIENT, self.upstream._sessions)

    def test_asks_after_a_client_whose_opening_is_read_behind_its_end(self):
        dead, heir = GatewayEnd(self.upstream, 70, claim=1), GatewayEnd(self.upstream, 70, claim=2)
        dead.event(KIND.KIND_OPENED, CLIENT, announcement=1)
        dead.break_off()
        [question] = heir.messages()
        self.assertEqual([mark.client_uuid for mark in question.marks], [CLIENT])

    def test_what_is_dealt_with_before_the_lane_is_attached_is_told_then(self):
        stream = GatewayEnd(self.upstream, 70)
        stream.event(KIND.KIND_OPENED, CLIENT)
        with self.upstream._lock:
            self.upstream._detach(stream.stream.own)
            stream.bytes(CLIENT, b'abcd', 0)
        self.worker.next(), self.worker.next()
        with self.upstream._lock:
            session = self.upstream._sessions[CLIENT]
            session.handled = 4
            self.upstream._due.add(CLIENT)
            self.upstream._send_marks()
            self.assertEqual(stream.messages(), [])
            stream.attach(70)
            self.upstream._send_marks()
        [mark] = stream.messages()
        self.assertEqual([(each.client_uuid, each.offset) for each in mark.marks], [(CLIENT, 4)])

    def test_begins_anew_when_another_instance_has_had_the_client_meanwhile(self):
        first, second = GatewayEnd(self.upstream, 70), GatewayEnd(self.upstream, 71)
        self.worker.on_bytes = lambda client, data, offset: self.upstream.send(client, data)
        first.event(KIND.KIND_OPENED, CLIENT, assignment=1)
        first.bytes(CLIENT, b'abc', 0)
        reply = self.upstream._next(first.stream)
        self.assertEqual((reply.acknowledged, reply.assignment), (3, 1))
        first.say(wire.InputStreamRequest(lanes=[wire.LanePosition(lane=70, sequence=1)]))
        second.event(KIND.KIND_OPENED, CLIENT, offset=1, continued=True, assignment=3)
        second.bytes(CLIENT, b'bc', 1)
        again = self.upstream._next(second.stream)
        self.assertEqual((again.payload, again.acknowledged, again.assignment), (b'bc', 3, 3))
        told = [self.worker.next() for _ in range(3)]
        self.assertEqual(told, [('opened', CLIENT), ('closed', CLIENT, 'moved'), ('opened', CLIENT, 'again')])

    def test_what_is_dealt_with_late_does_not_count_for_the_next_assignment(self):
        stream, goes_on, given = GatewayEnd(self.upstream, 70), threading.Event(), queue.Queue()

        def on_bytes(client, data, offset):
            if client == OTHER:
                goes_on.wait(5)
            given.put((client, data))
            return False

        self.worker.on_bytes = on_bytes
        stream.event(KIND.KIND_OPENED, CLIENT, assignment=1)
        stream.bytes(CLIENT, b'abcd', 0)
        self.assertEqual(given.get(timeout=5), (CLIENT, b'abcd'))
        # The handler is busy while the client comes again, with the same bytes.
        stream.event(KIND.KIND_OPENED, OTHER)
        stream.bytes(OTHER, b'x', 0)
        stream.event(KIND.KIND_OPENED, CLIENT, continued=True, assignment=3)
        stream.bytes(CLIENT, b'abcd', 0)
        self.upstream.handled(CLIENT, 4)
        self.assertEqual(self.upstream._sessions[CLIENT].handled, 0)
        goes_on.set()
        self.assertEqual([given.get(timeout=5) for _ in range(2)], [(OTHER, b'x'), (CLIENT, b'abcd')])
        self.upstream.handled(CLIENT, 4)
        self.assertEqual(self.upstream._sessions[CLIENT].handled, 4)

    def test_refuses_another_version_and_a_second_hello(self):
        hello = wire.Hello(version=2, capabilities=library.CAPABILITIES, instance_id='gateway', lane=70)
        with self.assertRaisesRegex(ValueError, 'version 2 of the extensions is not spoken here'):
            self.upstream._take(library.Stream(), wire.InputStreamRequest(hello=hello))
        stream = GatewayEnd(self.upstream, 70)
        hello.version = 1
        with self.assertRaisesRegex(ValueError, 'a second hello'):
            stream.say(wire.InputStreamRequest(hello=hello))

    def test_waits_with_a_full_replay_buffer_until_the_gateway_has_some_of_it(self):
        stream, sent, size = GatewayEnd(self.upstream, 70), threading.Event(), library.REPLAY_BYTES // 4
        stream.event(KIND.KIND_OPENED, CLIENT)
        for _ in range(4):
            self.assertTrue(self.upstream.send(CLIENT, bytes(size)))

        def one_more():
            self.upstream.send(CLIENT, b'one more')
            sent.set()

        threading.Thread(target=one_more, daemon=True).start()
        self.assertFalse(sent.wait(0.2))
        numbers = [self.upstream._next(stream.stream).sequence for _ in range(4)]
        self.assertEqual(numbers, [1, 2, 3, 4])
        stream.say(wire.InputStreamRequest(lanes=[wire.LanePosition(lane=70, sequence=3)]))
        self.assertTrue(sent.wait(5))
        self.assertEqual(self.upstream._next(stream.stream).payload, b'one more')

    def test_serves_a_gateway_without_extensions_by_the_plain_contract(self):
        stream = library.Stream()
        self.upstream._streams.append(stream)
        self.worker.on_bytes = lambda client, data, offset: self.upstream.send(client, data.upper())
        for payload in b'abc', b'def':
            self.upstream._take(stream, wire.InputStreamRequest(client_uuid=CLIENT, payload=payload))
        for payload in b'ABC', b'DEF':
            reply = self.upstream._next(stream)
            self.assertEqual((reply.client_uuid, reply.payload), (CLIENT, payload))
            self.assertFalse(reply.HasField('hello') or reply.sequence or reply.lane or reply.marks)
        self.assertEqual(self.worker.next(), ('opened', CLIENT))
        self.assertFalse(self.upstream.close(CLIENT))

    def test_a_client_of_a_lane_that_was_dropped_is_not_new_when_it_comes_again(self):
        first = GatewayEnd(self.upstream, 70)
        first.event(KIND.KIND_OPENED, CLIENT)
        first.break_off()
        with self.upstream._lock:
            at = library.time.monotonic() + library.ORPHAN_SECONDS
            self.upstream._expire(at)
        again = GatewayEnd(self.upstream, 70)
        again.event(KIND.KIND_OPENED, CLIENT)
        again.event(KIND.KIND_OPENED, OTHER)
        told = [self.worker.next() for _ in range(4)]
        self.assertEqual(told, [('opened', CLIENT), ('closed', CLIENT, 'the gateway is gone'),
                                ('opened', CLIENT, 'again'), ('opened', OTHER)])


if __name__ == '__main__':
    unittest.main()
