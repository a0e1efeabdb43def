// A session's row: 256 bytes, grouped by who writes. Only `word` gives the right to write the rest.
//
//  line 0  identity and mail    claimer, before HANDOFF; mailHead: any forwarder, by compare-and-swap
//  line 1  peer and baseline    claimer, before HANDOFF
//  line 2  progress             owner
//  line 3  ending, take-overs   owner; closeRequest: anybody, by compare-and-swap from 0
#pragma once

#include "common/slot_word.h"
#include "common/table_layout.h"

namespace ppx {

// Owner's flags, in `flags`.
inline constexpr uint32_t kSessionInputEnded = 1;   // the client's FIN was read
inline constexpr uint32_t kSessionOutputEnded = 2;  // our SHUT_WR was done
inline constexpr uint32_t kSessionSent = 4;         // the client sent at least one byte
// Its upstream acknowledges (`resume`): input is kept in the journal from inAcked on, not from inWritten on.
inline constexpr uint32_t kSessionResumes = 8;
inline constexpr uint32_t kSessionAnnounced =
    16;  // an upstream is told, or about to be, that it opened (`events`)
// Its upstream has `events` and `close`: it ends the session.
inline constexpr uint32_t kSessionUpstreamCloses = 32;
inline constexpr uint32_t kSessionContinued = 64;  // another instance than `servedBy` may know of it

inline constexpr uint64_t kPlainInstance =
    UINT64_MAX;  // SessionSlot::servedBy: of an upstream without `resume`
inline constexpr uint32_t kNoUpstream = 0xffffffff;
inline constexpr uint64_t kPassing = UINT64_MAX;  // a stream has input that it has not said to have taken

struct alignas(64) SessionSlot {
  Atomic<uint64_t> word;      // SlotWord
  Atomic<uint64_t> mailHead;  // MailHead
  Atomic<uint64_t> uuidHigh;
  Atomic<uint64_t> uuidLow;
  Atomic<uint64_t> cookie;  // SO_COOKIE of the client's socket
  Atomic<uint16_t> listener;
  Atomic<uint16_t> pool;
  Atomic<uint32_t> upstream;   // slot of its upstream, or kNoUpstream; owner
  Atomic<uint64_t> lastInMs;   // monotonic: the last byte from the client; 0: none yet; owner
  Atomic<uint64_t> lastOutMs;  // monotonic: the last output, when it was stamped or sent; owner

  // Peer address as in sockaddr_in6, an IPv4 one mapped (::ffff:a.b.c.d).
  alignas(64) Atomic<uint64_t> peerHigh;
  Atomic<uint64_t> peerLow;
  Atomic<uint32_t> peerPort;
  Atomic<uint32_t>
      assignment;  // how many instances of upstreams have served it, the present one included; owner
  Atomic<uint64_t> acceptedRealtimeMs;
  Atomic<uint64_t> acceptedMs;        // monotonic
  Atomic<uint64_t> baselineReceived;  // bytes consumed when the witness was first read
  Atomic<uint64_t> baselineSent;      // bytes sent when the witness was first read
  Atomic<uint64_t> servedBy;          // hash of the instance that its input goes to; 0: none yet; owner

  // Offsets are absolute since accept, in bytes.
  alignas(64) Atomic<uint64_t> inReceived;  // taken from the socket, in the journal
  Atomic<uint64_t> inWritten;               // passed on to an upstream
  Atomic<uint64_t> inAcked;                 // acknowledged (`resume`); equals inWritten with a plain upstream
  Atomic<uint64_t> outStamped;              // committed output
  Atomic<uint64_t> outSent;                 // given to the socket
  Atomic<uint64_t> mailFreed;               // ticket of the newest message that was sent whole and freed
  Atomic<uint32_t> flags;
  Atomic<uint32_t> upstreamGeneration;  // life of the upstream slot that `upstream` names
  // A planned move: since when its owner submits no more (monotonic, µs << 8 | the owner's row); 0: none. Cleared by
  // whoever owns it next.
  Atomic<uint64_t> quiesced;

  alignas(64)
      Atomic<uint64_t> closeRequest;  // generation << 32 | CloseReason << 8 | 1: somebody asks for the end
  Atomic<uint32_t> closeReason;       // CloseReason, set on the way to kClosing
  Atomic<uint32_t> takeovers;
  Atomic<uint64_t>
      crashMs[2];  // monotonic: the last two crashes of forwarders that had it in hand, newest first
  Atomic<uint64_t> closingSinceMs;
  Atomic<uint64_t>
      lastPassedMs;  // monotonic: the last input that a stream took; 0: none yet; kPassing; owner
  Atomic<uint64_t>
      lost;  // by compare-and-swap: the last sign of a dead owner, until it is served again (last_sign.h)
  Atomic<uint64_t> announcements;  // how often upstreams were told of it, over all lives of the slot; owner
};
static_assert(sizeof(SessionSlot) == 256);
static_assert(offsetof(SessionSlot, peerHigh) == 64 && offsetof(SessionSlot, inReceived) == 128 &&
              offsetof(SessionSlot, closeRequest) == 192);

}  // namespace ppx
