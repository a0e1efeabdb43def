#!/usr/bin/python3
"""A chat room as an upstream: /nick NAME, /msg NAME TEXT, /who, /quit; anything else is said to all.

Known to one worker only: run one, or the names of each worker's members are a world of their own. An upstream is
never told that a client left: a member who is silent for an hour is forgotten.
"""
import re
import threading
import time

from upstream import serve, to, to_all

IDLE_SECONDS, MAX_MEMBERS, MAX_LINE, MAX_LINES = 3600, 10_000, 1000, 1000
lock = threading.Lock()
guests = 0
members = {}  # client UUID -> Member, the longest silent first


class Member:
    def __init__(self, name):
        self.name, self.partial, self.heard = name, b'', 0


def find(name):
    return next((client for client, member in members.items() if member.name == name), None)


def enter(client):
    global guests
    guests += 1
    members[client] = Member(f'guest{guests}')
    return f'* welcome, you are guest{guests}; /nick NAME, /msg NAME TEXT, /who, /quit\n'


def on_line(client, member, line):
    """The answers to one line: pairs of a client (None: all) and a text."""
    command, _, rest = line.partition(' ')
    if not line:
        return
    if not line.startswith('/'):
        yield None, f'<{member.name}> {line}\n'
    elif command == '/nick':
        if not re.fullmatch('[A-Za-z0-9_-]{1,24}', rest) or find(rest):
            yield client, '* that name is taken or no name\n'
        else:
            yield None, f'* {member.name} is now {rest}\n'
            member.name = rest
    elif command == '/msg':
        name, _, text = rest.partition(' ')
        if other := find(name):
            yield other, f'[{member.name}] {text}\n'
            yield client, f'[to {name}] {text}\n'
        else:
            yield client, f'* nobody here is called {name}\n'
    elif command == '/who':
        names = [m.name for m in members.values()]
        yield client, f'* {len(names)} here: {" ".join(names[:200])}\n'
    elif command == '/quit':
        del members[client]
        yield client, '* you have left the room; only you can close the connection\n'
        yield None, f'* {member.name} is gone\n'
    else:
        yield client, '* no such command\n'


def forget_the_silent(now):
    while members:
        longest_silent = next(iter(members))
        if now - members[longest_silent].heard < IDLE_SECONDS:
            return
        del members[longest_silent]


def answer(request):
    with lock:
        client, now, said = request.client_uuid, time.monotonic(), []
        forget_the_silent(now)
        if client not in members:
            if len(members) >= MAX_MEMBERS:
                return [to(client, b'* the room is full\n')]
            said.append((client, enter(client)))
        members[client] = member = members.pop(client)
        member.heard = now
        *lines, rest = (member.partial + request.payload).split(b'\n')
        member.partial = rest[:MAX_LINE]
        for line in lines[:MAX_LINES]:
            if client in members:
                text = line[:MAX_LINE].decode(errors='replace')
                said += on_line(client, member, ''.join(c for c in text if c.isprintable()))
        return [to(who, text.encode()) if who else to_all(text.encode()) for who, text in said]


serve(answer)
