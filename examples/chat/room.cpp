#include "examples/chat/room.h"

#include <fmt/core.h>

#include <utility>

#include "examples/chat/clean_text.h"

namespace ppx::examples {
namespace {

// Answers stay short: no list is longer than this.
constexpr std::size_t kWhoNames = 200;

std::pair<std::string_view, std::string_view> splitWord(std::string_view text) {
  const std::size_t space = text.find(' ');
  if (space == std::string_view::npos) {
    return {text, {}};
  }
  const std::size_t rest = text.find_first_not_of(' ', space);
  return {text.substr(0, space), rest == std::string_view::npos ? std::string_view() : text.substr(rest)};
}

}  // namespace

std::vector<Outgoing> Room::open(const std::string& client, Clock::time_point now) {
  Outbox out;
  expire(now, out);
  if (!has(client)) {
    enter(client, now, out);
  }
  return out.take();
}

std::vector<Outgoing> Room::gone(const std::string& client) {
  Outbox out;
  const auto found = members_.find(client);
  if (found != members_.end()) {
    out.tellAll(fmt::format("* {} is gone\n", found->second.name));
    leave(found);
  }
  return out.take();
}

std::vector<Outgoing> Room::take(const std::string& client, std::string_view bytes, Clock::time_point now) {
  Outbox out;
  expire(now, out);
  auto found = members_.find(client);
  if (found == members_.end()) {
    if (enter(client, now, out) == nullptr) {
      return out.take();
    }
    found = members_.find(client);
  }
  found->second.lastHeard = now;
  byAge_.splice(byAge_.end(), byAge_, found->second.turn);
  bool stays = true;
  bool isTooMuch = false;
  found->second.lines.feed(bytes, [&](std::string_view line) {
    isTooMuch = isTooMuch || out.isFull();
    stays = stays && (isTooMuch || onLine(client, found->second, line, out));
  });
  if (isTooMuch) {
    out.tell(client, "* too much at once, some of it was ignored\n");
  }
  if (!stays) {
    leave(found);
  }
  return out.take();
}

void Room::expire(Clock::time_point now, Outbox& out) {
  while (!byAge_.empty()) {
    const auto oldest = members_.find(byAge_.front());
    if (now - oldest->second.lastHeard < limits_.idleTimeout) {
      return;
    }
    out.tellAll(fmt::format("* {} is gone\n", oldest->second.name));
    leave(oldest);
  }
}

Room::Member* Room::enter(const std::string& client, Clock::time_point now, Outbox& out) {
  if (members_.size() >= limits_.members) {
    out.tell(client, "* the room is full, try again later\n");
    return nullptr;
  }
  std::string name;
  do {
    name = fmt::format("guest{}", ++guests_);
  } while (byName_.contains(name));
  Member& member = members_[client];
  member.name = name;
  member.lastHeard = now;
  member.turn = byAge_.insert(byAge_.end(), client);
  byName_[name] = client;
  out.tell(client, fmt::format("* welcome, you are {}; {} here. /nick NAME, /msg NAME TEXT, /who, /quit; "
                               "anything else is said to all\n",
                               name, members_.size()));
  return &member;
}

void Room::leave(Members::iterator member) {
  byName_.erase(member->second.name);
  byAge_.erase(member->second.turn);
  members_.erase(member);
}

bool Room::onLine(const std::string& client, Member& member, std::string_view raw, Outbox& out) {
  const std::string line = cleanText(raw);
  if (line.empty()) {
    return true;
  }
  if (line.front() != '/') {
    out.tellAll(fmt::format("<{}> {}\n", member.name, line));
    return true;
  }
  const auto [command, rest] = splitWord(line);
  if (command == "/nick") {
    onNick(client, member, splitWord(rest).first, out);
  } else if (command == "/msg") {
    onPrivate(client, member, rest, out);
  } else if (command == "/who") {
    onWho(client, out);
  } else if (command == "/quit") {
    out.tell(client, "* you have left the room\n");
    out.tellAll(fmt::format("* {} is gone\n", member.name));
    return false;
  } else {
    out.tell(client, "* no such command; there are /nick NAME, /msg NAME TEXT, /who, /quit\n");
  }
  return true;
}

void Room::onNick(const std::string& client, Member& member, std::string_view name, Outbox& out) {
  if (!isGoodName(name)) {
    out.tell(client, "* a name has 1 to 24 letters, digits, '_' or '-'\n");
    return;
  }
  if (!byName_.emplace(name, client).second) {
    out.tell(client, fmt::format("* {} is taken\n", name));
    return;
  }
  byName_.erase(member.name);
  out.tellAll(fmt::format("* {} is now {}\n", member.name, name));
  member.name = name;
}

void Room::onPrivate(const std::string& client, Member& member, std::string_view rest, Outbox& out) {
  const auto [name, text] = splitWord(rest);
  const auto found = byName_.find(std::string(name));
  if (text.empty()) {
    out.tell(client, "* /msg NAME TEXT\n");
  } else if (found == byName_.end()) {
    out.tell(client, fmt::format("* nobody here is called {}\n", name));
  } else {
    out.tell(found->second, fmt::format("[{}] {}\n", member.name, text));
    out.tell(client, fmt::format("[to {}] {}\n", name, text));
  }
}

void Room::onWho(const std::string& client, Outbox& out) {
  std::string names;
  std::size_t listed = 0;
  for (const auto& [name, id] : byName_) {
    if (listed++ == kWhoNames) {
      names += " ...";
      break;
    }
    names += ' ' + name;
  }
  out.tell(client, fmt::format("* {} here:{}\n", members_.size(), names));
}

}  // namespace ppx::examples
