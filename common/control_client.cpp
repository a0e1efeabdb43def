#include "common/control_client.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "common/clock.h"
#include "common/last_words.h"
#include "common/log.h"
#include "common/log_settings.h"
#include "common/seqpacket.h"

namespace ppx {
namespace {

constexpr int kUsage = 64;     // EX_USAGE: permanent
constexpr int kTryAgain = 75;  // EX_TEMPFAIL
constexpr std::chrono::milliseconds kHeartbeat{200};
constexpr int kMaxRedialMs = 500;

[[noreturn]] void usage(const char* program) {
  std::fprintf(stderr, "usage: %s --runtime-dir DIR --row N --incarnation N (paradoxd starts it)\n", program);
  std::exit(kUsage);
}

uint32_t numberArgument(const char* program, std::string_view text, uint32_t max) {
  uint32_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > max) usage(program);
  return value;
}

WorkerId predecessorArgument(const char* program, std::string_view text) {
  size_t colon = text.find(':');
  if (colon == std::string_view::npos) usage(program);
  return {static_cast<uint8_t>(numberArgument(program, text.substr(0, colon), kWorkerRows - 1)),
          numberArgument(program, text.substr(colon + 1), kIncarnationMask)};
}

}  // namespace

WorkerIdentity parseWorkerArguments(WorkerRole role, int argc, char** argv) {
  WorkerIdentity identity;
  identity.role = role;
  int seen = 0;
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string_view name = argv[i];
    if (name == "--runtime-dir")
      identity.runtimeDir = argv[i + 1], seen |= 1;
    else if (name == "--row")
      identity.id.row = static_cast<uint8_t>(numberArgument(argv[0], argv[i + 1], kWorkerRows - 1)),
      seen |= 2;
    else if (name == "--incarnation")
      identity.id.incarnation = numberArgument(argv[0], argv[i + 1], kIncarnationMask), seen |= 4;
    else if (name == "--successor-of" && (role == WorkerRole::kForwarder || role == WorkerRole::kAcceptor))
      identity.predecessor = predecessorArgument(argv[0], argv[i + 1]);
    else
      usage(argv[0]);
  }
  if (role == WorkerRole::kCustodian && seen == 1)
    identity.id.row = kCustodianRow, identity.startedByOthers = true, seen = 7;
  if (seen != 7 || argc % 2 != 1) usage(argv[0]);
  return identity;
}

ControlClient::ControlClient(boost::asio::io_context& io, WorkerIdentity identity, Handlers handlers)
    : io_(io),
      identity_(std::move(identity)),
      handlers_(std::move(handlers)),
      channel_(io),
      redialTimer_(io),
      beatTimer_(io) {
  keepLastWords();
}

// A custodian that somebody else started learns its incarnation by the Welcome.
void ControlClient::keepLastWords() {
  if (identity_.id.incarnation != 0)
    keepLastWordsIn(identity_.runtimeDir + "/" + lastWordsName(identity_.id.row, identity_.id.incarnation));
}

void ControlClient::start() {
  dial();
}

void ControlClient::dial() {
  auto socket = dialSeqpacket(identity_.runtimeDir + "/" + control::kSocketName);
  if (!socket) return redial();
  dialFailures_ = 0;
  channel_.assign(socket->release());
  control::Hello hello;
  hello.role = identity_.role;
  hello.row = identity_.id.row;
  hello.incarnation = identity_.id.incarnation;
  hello.hasTable = table_ != nullptr ? 1 : 0;
  hello.ready = ready_ ? 1 : 0;
  std::strncpy(hello.build, PPX_VERSION, sizeof(hello.build) - 1);
  int memfd = table_ != nullptr ? table_->memfd() : -1;
  std::span<const int> descriptors(&memfd, table_ != nullptr ? 1u : 0u);
  if (!sendMessage(channel_.native_handle(), bytesOf(hello), descriptors)) return redial();
  waitReadable();
}

void ControlClient::redial() {
  boost::system::error_code ignored;
  if (channel_.is_open()) channel_.close(ignored);
  int delay = std::min(kMaxRedialMs, 10 << std::min(dialFailures_, 6));
  ++dialFailures_;
  redialTimer_.expires_after(std::chrono::milliseconds(delay));
  redialTimer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) dial();
  });
}

void ControlClient::waitReadable() {
  channel_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                      [this](const boost::system::error_code& error) {
                        if (!error) receive();
                      });
}

void ControlClient::receive() {
  alignas(8) std::array<std::byte, 512> buffer;  // longer than any message of the contract
  for (;;) {
    auto message = receiveMessage(channel_.native_handle(), buffer);
    if (!message) {
      if (message.error().code == EAGAIN) return waitReadable();
      return redial();
    }
    if (message->bytes == 0) return redial();
    dispatch(std::span(buffer.data(), message->bytes), std::move(message->descriptors));
    if (!channel_.is_open()) return redial();
  }
}

template <typename T>
static bool decode(std::span<const std::byte> bytes, T& out) {
  if (bytes.size() != sizeof(T)) return false;
  std::memcpy(&out, bytes.data(), sizeof(T));
  return true;
}

void ControlClient::dispatch(std::span<const std::byte> bytes, std::vector<UniqueFd> descriptors) {
  control::Header header{};
  if (bytes.size() >= sizeof(header)) std::memcpy(&header, bytes.data(), sizeof(header));
  boost::system::error_code ignored;
  if (header.magic != control::kMagic || header.version != control::kVersion) {
    channel_.close(ignored);
    return;
  }
  switch (header.type) {
    case control::Type::kWelcome:
      if (control::Welcome message; decode(bytes, message)) return onWelcome(message, std::move(descriptors));
      break;
    case control::Type::kReject:
      if (control::Reject message; decode(bytes, message)) {
        message.reason[sizeof(message.reason) - 1] = '\0';
        spdlog::error("the supervisor rejects this worker: {}", message.reason);
        ::_exit(identity_.startedByOthers ? kTryAgain : 0);
      }
      break;
    case control::Type::kListeners:
      if (control::Listeners message; decode(bytes, message) && message.count == descriptors.size() &&
                                      message.count <= std::size(message.rows)) {
        if (handlers_.listeners)
          handlers_.listeners(std::move(descriptors), {message.rows, message.rows + message.count});
        return;
      }
      break;
    case control::Type::kPeersChanged:
      if (handlers_.peersChanged) handlers_.peersChanged();
      return;
    case control::Type::kWorkerDied:
      if (control::WorkerDied message; decode(bytes, message)) {
        if (handlers_.workerDied) handlers_.workerDied(message);
        return;
      }
      break;
    case control::Type::kStop:
      if (control::Stop message; decode(bytes, message)) {
        if (handlers_.stop) handlers_.stop(message.deadlineMs);
        return;
      }
      break;
    case control::Type::kHandOver:
      if (control::HandOver message; decode(bytes, message) && message.targets <= kMaxForwarders) {
        if (handlers_.handOver) handlers_.handOver(message);
        return;
      }
      break;
    case control::Type::kRenew:
      if (handlers_.renew) handlers_.renew();
      return;
    default:
      break;
  }
  spdlog::warn("a message of type {} on the control channel cannot be read; dialling again",
               static_cast<unsigned>(header.type));
  channel_.close(ignored);
}

void ControlClient::onWelcome(const control::Welcome& message, std::vector<UniqueFd> descriptors) {
  setLogLevel(static_cast<int>(std::min<uint32_t>(message.logLevel, LogAt::off)));
  if (table_ != nullptr) return;  // an adoption: everything stands
  identity_.id.incarnation = message.incarnation;
  setLogIncarnation(message.incarnation);
  keepLastWords();
  if (descriptors.size() != control::kWelcomeDescriptors) {
    spdlog::critical("the welcome came with {} descriptors instead of {}", descriptors.size(),
                     control::kWelcomeDescriptors);
    ::_exit(1);
  }
  auto table = Table::map(std::move(descriptors.front()));
  descriptors.erase(descriptors.begin());
  auto doorbells = Doorbells::fromDescriptors(std::move(descriptors));
  if (!table || !doorbells) {
    const std::string why = "cannot use the table: " + (table ? doorbells.error().text : table.error().text);
    spdlog::critical("{}", why);
    leaveLastWords(why);
    ::_exit(1);
  }
  table_ = std::make_unique<Table>(std::move(*table));
  doorbells_ = std::make_unique<Doorbells>(std::move(*doorbells));
  beat();
  if (handlers_.welcome) handlers_.welcome(*table_, *doorbells_);
}

void ControlClient::beat() {
  if (uint32_t word = table_->header().logging.load(std::memory_order_relaxed); word != logging_)
    applyLogSettings(logging_ = word, identity_.role);
  if (!handlers_.works || handlers_.works())
    table_->worker(identity_.id.row).heartbeatMs.store(static_cast<uint64_t>(monotonicMillis()));
  beatTimer_.expires_after(kHeartbeat);
  beatTimer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) beat();
  });
}

template <typename T>
void ControlClient::send(const T& message) {
  // Broken or full, which is a supervisor that hangs: dials again; the hello says all that counts.
  if (channel_.is_open() && !sendMessage(channel_.native_handle(), bytesOf(message))) redial();
}

void ControlClient::ready() {
  ready_ = true;
  send(control::Ready{});
}

void ControlClient::upstreamChanged(uint32_t upstream, uint32_t generation) {
  control::UpstreamChanged message;
  message.upstream = upstream;
  message.generation = generation;
  send(message);
}

void ControlClient::handedOver(const control::HandedOver& report) {
  send(report);
}

void ControlClient::tookOver(const control::TookOver& report) {
  send(report);
}

void ControlClient::renewed(bool done, const std::string& reason) {
  control::Renewed message;
  message.done = done ? 1 : 0;
  std::strncpy(message.reason, reason.c_str(), sizeof(message.reason) - 1);
  send(message);
}

void ControlClient::leave() {
  send(control::Stopping{});
  ::_exit(0);
}

}  // namespace ppx
