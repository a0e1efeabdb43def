// The custodian's protocol, frozen: SEQPACKET on <runtime>/custody.sock. The custodian holds a second copy of every
// descriptor that must outlive its user, keyed by {kind, slot, generation}.
//
//   any worker                              custodian
//     | -- Hello ----------------------------> |  who I am: row and incarnation
//     | -- Put  [records] + a descriptor each > |  acceptor (sessions), supervisor (memfd, listeners, doorbells)
//     | <- PutDone [records, no uuid needed] -- |  they are held (or flagged: not held, at the descriptor limit)
//     | -- Drop [records] --------------------> |
//     | <- DropDone [records] ----------------- |  its copies are closed; also when it never had them
//     | -- Fetch [records], after {row, inc} -> |  answered only after the channel of that worker was read to its end
//     | <- Give [records] + descriptors ------- |  those that it has
//     | <- Missing [records] ------------------ |  those that it has not
//     | -- List ------------------------------> |
//     | <- Listed [records] ..., ListEnd ------ |  all that it holds; other answers may come in between
//
// A Drop may overtake the Put of the same session (they come by different channels): the custodian remembers per slot
// the newest dropped generation and closes what comes for it later. A Put for an older generation than it holds is
// closed; a newer one replaces. Each message: Head, then `count` Records, at most kMaxRecords. Unacknowledged
// descriptors count against a limit of the kernel: a sender has at most kMaxUnacknowledged of them on the way.
#pragma once

#include <cstdint>
#include <type_traits>

namespace ppx::custody {

inline constexpr char kSocketName[] = "custody.sock";
inline constexpr uint32_t kMagic = 0x4b787070;  // "ppxK"
inline constexpr uint16_t kVersion = 1;
inline constexpr uint32_t kMaxRecords = 253;
inline constexpr uint32_t kMaxUnacknowledged = 2048;

enum class Type : uint16_t {
  kHello = 1,
  kPut,
  kPutDone,
  kDrop,
  kDropDone,
  kFetch,
  kGive,
  kMissing,
  kList,
  kListed,
  kListEnd,
};

enum class Kind : uint8_t { kSession = 1, kListener = 2, kTable = 3, kDoorbell = 4 };

struct Head {
  uint32_t magic = kMagic;
  uint16_t version = kVersion;
  Type type;
  uint16_t count = 0;  // records that follow
  uint8_t row =
      0;  // Hello: the sender's; Fetch: of the dead worker to be read out first, if incarnation != 0
  uint8_t reserved = 0;
  uint32_t incarnation = 0;  // as `row`
};

struct Record {
  Kind kind = Kind::kSession;
  uint8_t failed = 0;  // PutDone: it could not be held
  uint16_t reserved = 0;
  uint32_t slot = 0;        // session slot, listener row, 0 for the table, doorbell index
  uint32_t generation = 0;  // of the session; a counter of the supervisor's for the others
  uint32_t reserved2 = 0;
  uint64_t uuidHigh = 0;  // of the session, for people who look
  uint64_t uuidLow = 0;
};
static_assert(sizeof(Head) == 16 && sizeof(Record) == 32);
static_assert(std::is_trivially_copyable_v<Head> && std::is_trivially_copyable_v<Record>);

}  // namespace ppx::custody
