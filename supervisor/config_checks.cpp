#include "supervisor/config_checks.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>

#include "supervisor/config_schema.h"
#include "supervisor/nearest_key.h"

namespace ppx {
namespace {

constexpr std::string_view kDefaultPool = "default";

PoolConfig* findPool(Config& config, std::string_view name) {
  const auto found = std::find_if(config.pools.begin(), config.pools.end(),
                                  [&](const PoolConfig& pool) { return pool.name == name; });
  return found == config.pools.end() ? nullptr : &*found;
}

void namePool(Config& config, const std::string& name) {
  if (findPool(config, name) == nullptr) config.pools.push_back({name, Routing::kSession});
}

std::string sectionTitle(const SectionPlace& place) {
  const SectionSpec* spec = findSection(place.section);
  const bool list = spec != nullptr && spec->list();
  return list ? fmt::format("[[{}]]", place.section) : fmt::format("[{}]", place.section);
}

// Where the other one of two that clash stands.
std::string otherText(const SectionPlace& place) {
  return place.at.line == 0 ? "the default"
                            : fmt::format("{} in line {}", sectionTitle(place), place.at.line);
}

// ---- names

template <class Item, class PlaceOf>
void checkUniqueNames(ReadConfig& read, const std::vector<Item>& items, PlaceOf placeOf,
                      std::string_view what) {
  for (std::size_t i = 0; i < items.size(); ++i) {
    const SectionPlace& mine = placeOf(i);
    if (mine.bad.contains("name")) continue;
    for (std::size_t j = 0; j < i; ++j) {
      if (items[j].name != items[i].name || placeOf(j).bad.contains("name")) continue;
      read.report(mine, "name",
                  fmt::format("expected a name of its own, found {}, which is the {} of {}",
                              quotedText(items[i].name), what, otherText(placeOf(j))));
      break;
    }
  }
}

// ---- pools: once the file declares any, a name that it does not declare is a slip of the pen

void checkPoolReference(ReadConfig& read, const SectionPlace& place, const std::string& pool,
                        const std::vector<std::string_view>& declared) {
  if (place.bad.contains("pool") || std::find(declared.begin(), declared.end(), pool) != declared.end())
    return;
  const NearestKey nearest = nearestKey(pool, declared);
  read.report(
      place, "pool",
      fmt::format("expected a pool that a [[pool]] declares, found {}; {} \"{}\"{}", quotedText(pool),
                  nearest.close ? "did you mean" : "the nearest is", nearest.key, nearest.close ? "?" : ""));
}

void checkPools(ReadConfig& read) {
  std::vector<std::string_view> declared;
  for (std::size_t i = 0; !read.place("pool", i).section.empty(); ++i) {
    if (!read.place("pool", i).bad.contains("name")) declared.push_back(read.config.pools[i].name);
  }
  if (read.place("pool").section.empty()) return;
  declared.push_back(kDefaultPool);
  for (std::size_t i = 0; i < read.config.listeners.size(); ++i) {
    checkPoolReference(read, read.listenerPlace(i), read.config.listeners[i].pool, declared);
  }
  for (std::size_t i = 0; i < read.config.upstreams.size(); ++i) {
    checkPoolReference(read, read.place("upstream", i), read.config.upstreams[i].pool, declared);
  }
}

// ---- addresses

bool sameText(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

bool isAddressOf(int family, const std::string& host) {
  unsigned char address[sizeof(in6_addr)];
  return inet_pton(family, host.c_str(), address) == 1;
}

// Whether listening on both at one port is impossible for sure. Names are compared, not resolved.
bool hostsClash(const std::string& a, const std::string& b) {
  if (sameText(a, b)) return true;
  const auto covers = [](const std::string& any, const std::string& other) {
    return (any == "0.0.0.0" && isAddressOf(AF_INET, other)) || (any == "::" && isAddressOf(AF_INET6, other));
  };
  return covers(a, b) || covers(b, a);
}

struct ListenAddress {
  const std::string* host;
  std::uint16_t port;
  const SectionPlace* place;
  std::string_view defaultName;  // what to call it if the file does not have it

  bool sound() const { return port != 0 && !place->bad.contains("host") && !place->bad.contains("port"); }
  bool written() const { return place->at.line != 0; }
  bool clashesWith(const ListenAddress& other) const {
    return sound() && other.sound() && port == other.port && hostsClash(*host, *other.host);
  }
  std::string text() const { return fmt::format("{}:{}", *host, port); }
};

void reportClash(ReadConfig& read, const ListenAddress& bearer, const ListenAddress& other) {
  read.report(
      *bearer.place, "port",
      fmt::format("expected an address of its own, found {}, which clashes with {} of {}", bearer.text(),
                  other.text(), other.written() ? otherText(*other.place) : std::string(other.defaultName)));
}

void checkListenAddresses(ReadConfig& read) {
  std::vector<ListenAddress> all;
  for (std::size_t i = 0; i < read.config.listeners.size(); ++i) {
    const ListenerConfig& listener = read.config.listeners[i];
    all.push_back({&listener.host, listener.port, &read.listenerPlace(i), "the default listener"});
  }
  const ManagementConfig& management = read.config.management;
  all.push_back(
      {&management.host, management.port, &read.place("management_server"), "the default management_server"});
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto end = all.begin() + static_cast<std::ptrdiff_t>(i);
    const auto other =
        std::find_if(all.begin(), end, [&](const auto& one) { return one.clashesWith(all[i]); });
    if (other == end) continue;
    // Whichever of the two is in the file bears the error.
    if (all[i].written()) {
      reportClash(read, all[i], *other);
    } else {
      reportClash(read, *other, all[i]);
    }
  }
}

void checkUpstreamAddresses(ReadConfig& read) {
  const auto& all = read.config.upstreams;
  const auto sound = [&](std::size_t i) {
    const SectionPlace& place = read.place("upstream", i);
    return !place.bad.contains("host") && !place.bad.contains("port");
  };
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (all[i].port != all[j].port || !sameText(all[i].host, all[j].host) || !sound(i) || !sound(j))
        continue;
      read.report(read.place("upstream", i), "port",
                  fmt::format("expected an upstream of its own, found {}:{}, which is that of {}",
                              all[i].host, all[i].port, otherText(read.place("upstream", j))));
      break;
    }
  }
}

// ---- bounds between two keys of one section

struct AtMost {
  std::string_view section;
  std::string_view lesser;
  std::string_view greater;
};
constexpr AtMost kOrdered[] = {
    {"workers", "respawn_backoff_min", "respawn_backoff_max"},
    {"sessions", "input_window_bytes", "journal_in_bytes"},
    {"sessions", "output_soft_bytes", "output_hard_bytes"},
    {"sessions", "max_reply_bytes", "output_hard_bytes"},
    {"sessions", "output_hard_bytes", "journal_out_bytes"},
};

void checkOrder(ReadConfig& read, const AtMost& rule) {
  const SectionPlace& place = read.place(rule.section);
  if (place.bad.contains(rule.lesser) || place.bad.contains(rule.greater)) return;
  const SectionSpec& section = *findSection(rule.section);
  const KeySpec& lesser = *findKey(section, rule.lesser);
  const KeySpec& greater = *findKey(section, rule.greater);
  const void* values = section.open(read.config);
  const auto low = lesser.field.get(values);
  const auto high = greater.field.get(values);
  if (std::get<std::int64_t>(low) <= std::get<std::int64_t>(high)) return;
  // At the key that the file has: the other may be a default.
  if (place.has(rule.lesser)) {
    read.report(place, rule.lesser,
                fmt::format("expected at most {} ({}), found {}", rule.greater, valueText(greater.rule, high),
                            valueText(lesser.rule, low)));
  } else {
    read.report(place, rule.greater,
                fmt::format("expected at least {} ({}), found {}", rule.lesser, valueText(lesser.rule, low),
                            valueText(greater.rule, high)));
  }
}

void checkAdmission(ReadConfig& read) {
  const SectionPlace& place = read.place("admission");
  if (place.bad.contains("max_sessions") || read.place("sessions").bad.contains("max")) return;
  if (read.config.admission.maxSessions <= read.config.sessions.max) return;
  read.report(place, "max_sessions",
              fmt::format("expected at most sessions.max ({}), found {}", read.config.sessions.max,
                          read.config.admission.maxSessions));
}

// ---- the management server

void checkManagement(ReadConfig& read) {
  const ManagementConfig& management = read.config.management;
  const SectionPlace& place = read.place("management_server");
  if (!management.token.empty() && !management.tokenFile.empty()) {
    read.report(place, "token_file", "expected either token or token_file, found both");
  }
  const SectionPlace& tls = read.place("management_server.tls");
  if (!tls.bad.empty() || management.tls.certPath.empty() == management.tls.keyPath.empty()) return;
  const bool hasCert = !management.tls.certPath.empty();
  const std::string_view set = hasCert ? "cert_path" : "key_path";
  const std::string_view missing = hasCert ? "key_path" : "cert_path";
  read.report(tls, missing,
              fmt::format("expected a file's name, since {} is set; found {}", set,
                          tls.has(missing) ? "\"\"" : "no such key"));
}

}  // namespace

void completeConfig(ReadConfig& read) {
  Config& config = read.config;
  if (config.listeners.empty()) config.listeners.emplace_back();
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    ListenerConfig& listener = config.listeners[i];
    const SectionPlace& place = read.listenerPlace(i);
    const PoolConfig* pool = findPool(config, listener.pool);
    if (!place.has("routing") && pool != nullptr) listener.routing = pool->routing;
    if (!place.has("idle_timeout")) listener.idleTimeout = config.sessions.idleTimeout;
    if (!place.has("half_close_timeout")) listener.halfCloseTimeout = config.sessions.halfCloseTimeout;
  }
  SessionsConfig& sessions = config.sessions;
  const SectionPlace& place = read.place("sessions");
  if (!place.has("output_soft_bytes")) {
    sessions.outputSoftBytes = std::min(sessions.outputSoftBytes, sessions.outputHardBytes);
  }
  if (!place.has("max_reply_bytes")) {
    sessions.maxReplyBytes = std::min(sessions.maxReplyBytes, sessions.outputHardBytes);
  }
  if (!read.place("log").has("level")) config.log.level = config.management.logLevel;
  namePool(config, std::string(kDefaultPool));
  for (const ListenerConfig& listener : config.listeners) namePool(config, listener.pool);
  for (const UpstreamConfig& upstream : config.upstreams) namePool(config, upstream.pool);
}

void checkConfig(ReadConfig& read) {
  checkUniqueNames(
      read, read.config.listeners,
      [&](std::size_t i) -> const SectionPlace& { return read.listenerPlace(i); }, "name");
  std::vector<PoolConfig> declared = read.config.pools;
  while (!declared.empty() && read.place("pool", declared.size() - 1).section.empty()) declared.pop_back();
  checkUniqueNames(
      read, declared, [&](std::size_t i) -> const SectionPlace& { return read.place("pool", i); }, "name");
  checkPools(read);
  checkListenAddresses(read);
  checkUpstreamAddresses(read);
  for (const AtMost& rule : kOrdered) checkOrder(read, rule);
  checkAdmission(read);
  checkManagement(read);
}

}  // namespace ppx
