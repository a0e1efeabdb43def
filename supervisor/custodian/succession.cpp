#include "supervisor/custodian/succession.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "supervisor/custodian/custody_store.h"

namespace ppx {
namespace {

using custody::Record;

constexpr uint32_t kMagic = 0x53787070;  // "ppxS"
constexpr uint32_t kVersion = 1;
constexpr off_t kMaxBytes = 256 << 20;  // 64 bytes a session, for all slots that there can be
constexpr uint32_t kMaxPeers = 4096;

class Writer {
 public:
  template <typename T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    auto bytes = std::as_bytes(std::span<const T, 1>(&value, 1));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  void put(const std::vector<Record>& records) {
    put(static_cast<uint32_t>(records.size()));
    for (const Record& each : records) put(each);
  }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

// After the first thing that is missing or wrong nothing is read any more.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : left_(bytes) {}
  template <typename T>
  T get() {
    T value{};
    if (left_.size() < sizeof(T)) fail();
    if (!good_) return value;
    std::memcpy(&value, left_.data(), sizeof(T));
    left_ = left_.subspan(sizeof(T));
    return value;
  }
  // As many as can be there at `bytesEach`.
  uint32_t count(size_t bytesEach) {
    auto count = get<uint32_t>();
    if (count > left_.size() / bytesEach) fail();
    return good_ ? count : 0;
  }
  std::vector<Record> records() {
    std::vector<Record> out(count(sizeof(Record)));
    for (Record& each : out) {
      each = get<Record>();
      check(CustodyStore::valid(each));
    }
    return out;
  }
  void check(bool true_) {
    if (!true_) fail();
  }
  bool whole() const { return good_ && left_.empty(); }

 private:
  void fail() {
    good_ = false;
    left_ = {};
  }
  std::span<const std::byte> left_;
  bool good_ = true;
};

bool isAnswer(custody::Type type) {
  return type == custody::Type::kPutDone || type == custody::Type::kDropDone ||
         type == custody::Type::kGive || type == custody::Type::kMissing || type == custody::Type::kListed;
}

void put(Writer& out, const Succession::Peer& peer) {
  out.put(peer.channel);
  out.put(static_cast<uint8_t>(peer.introduced));
  out.put(static_cast<uint8_t>(peer.deaf));
  out.put(peer.worker.row);
  out.put(peer.worker.incarnation);
  out.put(static_cast<uint32_t>(peer.answers.size()));
  for (const Succession::Answer& answer : peer.answers) {
    out.put(answer.type);
    out.put(answer.cursor);
    out.put(answer.records);
  }
}

Succession::Peer getPeer(Reader& in) {
  Succession::Peer peer;
  peer.channel = in.get<int>();
  peer.introduced = in.get<uint8_t>() != 0;
  peer.deaf = in.get<uint8_t>() != 0;
  peer.worker.row = in.get<decltype(peer.worker.row)>();
  peer.worker.incarnation = in.get<decltype(peer.worker.incarnation)>();
  peer.answers.resize(in.count(sizeof(custody::Type)));
  for (Succession::Answer& answer : peer.answers) {
    answer.type = in.get<custody::Type>();
    in.check(isAnswer(answer.type));
    answer.cursor = in.get<uint64_t>();
    answer.records = in.records();
    in.check(answer.records.size() <= custody::kMaxRecords);
  }
  return peer;
}

Succession::Fetch getFetch(Reader& in, size_t peers) {
  Succession::Fetch fetch;
  fetch.peer = in.get<uint32_t>();
  in.check(fetch.peer < peers);
  fetch.after.row = in.get<decltype(fetch.after.row)>();
  fetch.after.incarnation = in.get<decltype(fetch.after.incarnation)>();
  fetch.records = in.records();
  in.check(fetch.records.size() <= custody::kMaxRecords);
  return fetch;
}

bool writeAll(int memfd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::write(memfd, bytes.data(), bytes.size());
    if (written <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return true;
}

}  // namespace

Result<UniqueFd> Succession::write() const {
  Writer out;
  out.put(kMagic);
  out.put(kVersion);
  out.put(listener);
  out.put(static_cast<uint32_t>(held.size()));
  for (const Held& each : held) out.put(each);
  out.put(static_cast<uint32_t>(peers.size()));
  for (const Peer& peer : peers) put(out, peer);
  out.put(static_cast<uint32_t>(fetches.size()));
  for (const Fetch& fetch : fetches) {
    out.put(fetch.peer);
    out.put(fetch.after.row);
    out.put(fetch.after.incarnation);
    out.put(fetch.records);
  }
  UniqueFd memfd(::memfd_create("paradox-succession", MFD_CLOEXEC));
  if (!memfd) return systemError("memfd_create");
  if (!writeAll(memfd.get(), out.bytes())) return systemError("writing what is handed on");
  return memfd;
}

Result<Succession> Succession::read(int memfd) {
  struct stat about {};
  if (::fstat(memfd, &about) != 0) return systemError("reading what is handed on");
  if (about.st_size > kMaxBytes) return Error{EFBIG, "what is handed on is too large"};
  std::vector<std::byte> bytes(static_cast<size_t>(about.st_size));
  if (::pread(memfd, bytes.data(), bytes.size(), 0) != about.st_size)
    return systemError("reading what is handed on");

  Reader in(bytes);
  if (in.get<uint32_t>() != kMagic) return Error{EINVAL, "what is handed on is not a custodian's"};
  if (auto version = in.get<uint32_t>(); version != kVersion)
    return Error{EINVAL, "what is handed on has version " + std::to_string(version) + ", not " +
                             std::to_string(kVersion)};
  Succession out;
  out.listener = in.get<int>();
  out.held.resize(in.count(sizeof(Held)));
  for (Held& each : out.held) {
    each = in.get<Held>();
    in.check(CustodyStore::valid(each.record));
  }
  out.peers.resize(std::min(in.count(1), kMaxPeers));
  for (Peer& peer : out.peers) peer = getPeer(in);
  out.fetches.resize(in.count(sizeof(uint32_t)));
  for (Fetch& fetch : out.fetches) fetch = getFetch(in, out.peers.size());
  if (!in.whole()) return Error{EINVAL, "what is handed on is not whole"};
  return out;
}

void Succession::forEachDescriptor(const std::function<void(int)>& visit) const {
  visit(listener);
  for (const Peer& peer : peers) visit(peer.channel);
  for (const Held& each : held)
    if (each.descriptor >= 0) visit(each.descriptor);
}

}  // namespace ppx
