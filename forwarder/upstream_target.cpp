#include "forwarder/upstream_target.h"

namespace ppx {

std::string upstreamLabel(const std::string& host, uint32_t port) {
  if (host.rfind("unix:", 0) == 0) return host;
  bool bare6 = host.find(':') != std::string::npos && host.front() != '[';
  return (bare6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::string upstreamTarget(const std::string& host, uint32_t port) {
  std::string label = upstreamLabel(host, port);
  if (host.rfind("unix:", 0) == 0) return label;
  // A scheme of its own: else a name could be read as one. The percent sign of an IPv6 zone is the only
  // character of a host that a URI would take for something else.
  std::string escaped;
  for (char c : label) escaped += c == '%' ? std::string("%25") : std::string(1, c);
  return "dns:///" + escaped;
}

}  // namespace ppx
