// Messages of the contract as bytes, for those who send them undecoded.
#pragma once

#include <string>

namespace ppx::test {

std::string replyMessage(const std::string& client, const std::string& payload);
std::string messageWithoutTarget(const std::string& payload);
std::string broadcastMessage(int value, const std::string& payload);

}  // namespace ppx::test
