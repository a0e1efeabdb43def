#!/usr/bin/env node
// A chat room as an upstream: /nick NAME, /msg NAME TEXT, /who, /quit; anything else is said to all.
//
// Known to one worker only: run one, or the names of each worker's members are a world of their own. An upstream is
// never told that a client left: a member who is silent for an hour is forgotten.
'use strict';
const { serve, to, toAll } = require('./upstream');

const IDLE_MS = 3600_000, MAX_MEMBERS = 10_000, MAX_LINE = 1000, MAX_LINES = 1000;
const members = new Map(); // client UUID -> member, the longest silent first
let guests = 0;

function find(name) {
  for (const [client, member] of members) if (member.name === name) return client;
  return undefined;
}

function* onLine(client, member, line) {
  const [, command, rest] = line.match(/^(\S*) ?(.*)$/);
  if (line === '') return;
  if (!line.startsWith('/')) {
    yield toAll(`<${member.name}> ${line}\n`);
  } else if (command === '/nick') {
    if (!/^[A-Za-z0-9_-]{1,24}$/.test(rest) || find(rest)) {
      yield to(client, '* that name is taken or no name\n');
    } else {
      yield toAll(`* ${member.name} is now ${rest}\n`);
      member.name = rest;
    }
  } else if (command === '/msg') {
    const [, name, text] = rest.match(/^(\S*) ?(.*)$/);
    const other = find(name);
    if (other) {
      yield to(other, `[${member.name}] ${text}\n`);
      yield to(client, `[to ${name}] ${text}\n`);
    } else {
      yield to(client, `* nobody here is called ${name}\n`);
    }
  } else if (command === '/who') {
    const names = [...members.values()].map((m) => m.name);
    yield to(client, `* ${names.length} here: ${names.slice(0, 200).join(' ')}\n`);
  } else if (command === '/quit') {
    members.delete(client);
    yield to(client, '* you have left the room; only you can close the connection\n');
    yield toAll(`* ${member.name} is gone\n`);
  } else {
    yield to(client, '* no such command\n');
  }
}

function forgetTheSilent(now) {
  for (const [client, member] of members) {
    if (now - member.heard < IDLE_MS) return;
    members.delete(client);
  }
}

serve(function* answer({ client_uuid: client, payload }) {
  const now = Date.now();
  forgetTheSilent(now);
  let member = members.get(client);
  if (!member) {
    if (members.size >= MAX_MEMBERS) {
      yield to(client, '* the room is full\n');
      return;
    }
    member = { name: `guest${++guests}`, partial: '', heard: now };
    yield to(client, `* welcome, you are ${member.name}; /nick NAME, /msg NAME TEXT, /who, /quit\n`);
  }
  member.heard = now;
  members.delete(client); // and in again, as the last one heard
  members.set(client, member);
  // latin1 keeps bytes as they are until a line is whole: a character may arrive in two pieces.
  const lines = (member.partial + payload.toString('latin1')).split('\n');
  member.partial = lines.pop().slice(0, MAX_LINE);
  for (const line of lines.slice(0, MAX_LINES)) {
    if (!members.has(client)) return;
    const text = Buffer.from(line.slice(0, MAX_LINE), 'latin1').toString();
    yield* onLine(client, member, text.replace(/\p{C}/gu, ''));
  }
});
