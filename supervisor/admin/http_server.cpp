#include "supervisor/admin/http_server.h"

#include <netdb.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/log.h"

namespace ppx {
namespace {

constexpr size_t kMaxPayloadBytes = 64 << 10;
constexpr size_t kMaxThreads = 64;
constexpr size_t kMaxPathBytes = 256;
constexpr size_t kMaxLengthDigits = 9;

std::string tlsErrorText() {
  char text[256] = "unknown";
  if (unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, text, sizeof(text));
  return text;
}

// What cpp-httplib itself refuses.
const char* errorCodeOf(int status) {
  if (status == 413) return "payload_too_large";
  if (status == 414) return "uri_too_long";
  return status >= 500 ? "internal" : "bad_request";
}

const char* errorTextOf(int status) {
  if (status == 413) return "the body is too large";
  if (status == 414) return "no path here is that long";
  return status >= 500 ? "the request failed" : "the request is not well-formed, or it did not come in time";
}

std::string errorBody(const std::string& code, const std::string& message, const std::string& field) {
  nlohmann::ordered_json error{{"code", code}, {"message", message}};
  if (!field.empty()) error["field"] = field;
  nlohmann::ordered_json body{{"error", error}};
  return body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

bool fits(std::string_view pattern, std::string_view path) {
  size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == path;
  std::string_view before = pattern.substr(0, star), after = pattern.substr(star + 1);
  if (path.size() <= before.size() + after.size() || !path.starts_with(before) || !path.ends_with(after))
    return false;
  path = path.substr(before.size(), path.size() - before.size() - after.size());
  return path.find('/') == std::string_view::npos;
}

// For peers whose request is never read to its end.
std::string cannedAnswer(const std::string& status, const std::string& code, const std::string& message) {
  std::string body = errorBody(code, message, {});
  return "HTTP/1.1 " + status +
         "\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

}  // namespace

void replyError(httplib::Response& response, int status, const std::string& code, const std::string& message,
                const std::string& field) {
  response.status = status;
  response.set_content(errorBody(code, message, field), "application/json");
}

HttpServer::HttpServer(HttpServerOptions options) : options_(std::move(options)) {
  setHandlers();
}

HttpServer::~HttpServer() {
  stop();
}

void HttpServer::setHandlers() {
  set_payload_max_length(kMaxPayloadBytes);
  set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
    bool answered = refuse(request, response) || (gate_ && gate_(request, response));
    return answered ? HandlerResponse::Handled : HandlerResponse::Unhandled;
  });
  set_error_handler(HandlerWithResponse([](const httplib::Request&, httplib::Response& response) {
    if (!response.body.empty()) return HandlerResponse::Unhandled;
    replyError(response, response.status, errorCodeOf(response.status), errorTextOf(response.status));
    return HandlerResponse::Handled;
  }));
  set_exception_handler([](const httplib::Request&, httplib::Response& response, std::exception_ptr thrown) {
    std::string what = "unknown";
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& e) {
      what = e.what();
    } catch (...) {
      what = "not an exception of the standard library";
    }
    spdlog::error("a request of the admin API failed: {}", what);
    replyError(response, 500, "internal", "the request failed; the log says why");
  });
}

void HttpServer::route(const std::string& method, const std::string& pattern, Route handler) {
  routes_.push_back({method, pattern});
  std::string expression = pattern;
  if (size_t star = pattern.find('*'); star != std::string::npos) expression.replace(star, 1, "([^/]+)");
  if (method == "GET")
    Get(expression, std::move(handler));
  else if (method == "PUT")
    Put(expression, std::move(handler));
  else
    Post(expression, std::move(handler));
}

bool HttpServer::refuse(const httplib::Request& request, httplib::Response& response) const {
  return refuseBody(request, response) || refusePath(request, response);
}

// Before the body is read: what cpp-httplib would read without a bound.
bool HttpServer::refuseBody(const httplib::Request& request, httplib::Response& response) const {
  if (request.has_header("Transfer-Encoding")) {
    replyError(response, 411, "length_required", "Transfer-Encoding is not accepted: send a Content-Length");
    return true;
  }
  if (request.has_header("Content-Encoding")) {
    replyError(response, 415, "unsupported_encoding",
               "Content-Encoding is not accepted: send the body plain");
    return true;
  }
  if (request.get_header_value("Content-Type").rfind("multipart/", 0) == 0) {
    replyError(response, 415, "unsupported_type", "multipart bodies are not accepted: send application/json");
    return true;
  }
  std::string length = request.get_header_value("Content-Length");
  bool digits = !length.empty() && length.find_first_not_of("0123456789") == std::string::npos;
  if (!digits || request.get_header_value_count("Content-Length") != 1) {
    replyError(response, 400, "bad_request", "Content-Length is not one number");
    return true;
  }
  if (length.size() > kMaxLengthDigits || std::stoul(length) > kMaxPayloadBytes) {
    replyError(response, 413, "payload_too_large",
               "a body may have " + std::to_string(kMaxPayloadBytes) + " bytes at most");
    return true;
  }
  return false;
}

bool HttpServer::refusePath(const httplib::Request& request, httplib::Response& response) const {
  // Short enough for the regular expressions, which recurse.
  if (request.path.size() > kMaxPathBytes) {
    replyError(response, 414, "uri_too_long", "no path here is that long");
    return true;
  }
  std::string method = request.method == "HEAD" ? "GET" : request.method;
  std::string allowed;
  for (const KnownRoute& known : routes_) {
    if (!fits(known.pattern, request.path)) continue;
    if (known.method == method) return false;
    allowed += (allowed.empty() ? "" : ", ") + known.method;
  }
  if (allowed.empty()) {
    replyError(response, 404, "not_found", "nothing is at " + request.path);
    return true;
  }
  response.set_header("Allow", allowed);
  replyError(response, 405, "method_not_allowed", request.path + " takes " + allowed);
  return true;
}

Status HttpServer::loadCertificate() {
  if (options_.certPath.empty()) return Done{};
  tls_.reset(SSL_CTX_new(TLS_server_method()));
  if (tls_ == nullptr) return Error{0, "TLS: " + tlsErrorText()};
  SSL_CTX_set_min_proto_version(tls_.get(), TLS1_2_VERSION);
  if (SSL_CTX_use_certificate_chain_file(tls_.get(), options_.certPath.c_str()) != 1)
    return Error{0, "management_server.tls.cert_path: " + options_.certPath + ": " + tlsErrorText()};
  if (SSL_CTX_use_PrivateKey_file(tls_.get(), options_.keyPath.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(tls_.get()) != 1)
    return Error{0, "management_server.tls.key_path: " + options_.keyPath + ": " + tlsErrorText()};
  return Done{};
}

Status HttpServer::listenOn() {
  std::string where = "management_server: " + options_.host + ":" + std::to_string(options_.port);
  addrinfo hints{}, *found = nullptr;
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  int failed = ::getaddrinfo(options_.host.c_str(), std::to_string(options_.port).c_str(), &hints, &found);
  if (failed != 0) return Error{0, where + ": " + ::gai_strerror(failed)};
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, &::freeaddrinfo);
  Error error{EADDRNOTAVAIL, where + ": no address"};
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    UniqueFd socket(::socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    int on = 1;
    // Not SO_REUSEPORT: two gateways would share one port.
    if (!socket || ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        ::bind(socket.get(), a->ai_addr, a->ai_addrlen) != 0 || ::listen(socket.get(), SOMAXCONN) != 0) {
      error = systemError(where);
      continue;
    }
    sockaddr_storage local{};
    socklen_t size = sizeof(local);
    ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&local), &size);
    port_ = ntohs(local.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(local).sin6_port
                                              : reinterpret_cast<sockaddr_in&>(local).sin_port);
    listener_ = std::move(socket);
    return Done{};
  }
  return error;
}

Result<uint16_t> HttpServer::start() {
  if (auto loaded = loadCertificate(); !loaded) return loaded.error();
  if (auto bound = listenOn(); !bound) return bound.error();
  stopBell_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stopBell_) return systemError("management_server: eventfd");
  pool_ = std::make_unique<RequestPool>(options_.threads, std::max<size_t>(options_.threads, kMaxThreads));
  RequestGatherer::Handlers handlers;
  handlers.whole = [this](std::unique_ptr<HttpConnection> connection) {
    handOn(std::move(connection), false);
  };
  handlers.tooLarge = [this](std::unique_ptr<HttpConnection> connection) {
    handOn(std::move(connection), true);
  };
  handlers.tooSlow = [](std::unique_ptr<HttpConnection> connection) {
    connection->sayOnce(cannedAnswer("408 Request Timeout", "too_slow", "the request did not come in time"));
  };
  svr_sock_ = listener_.get();  // cpp-httplib takes a server without one for stopped and streams nothing
  gatherer_.start(std::move(listener_), tls_.get(), stopBell_.get(), std::move(handlers));
  return port_;
}

void HttpServer::stop() {
  if (pool_ == nullptr) return;
  uint64_t one = 1;
  [[maybe_unused]] ssize_t ignored = ::write(stopBell_.get(), &one, sizeof(one));
  svr_sock_ = INVALID_SOCKET;
  gatherer_.stop();
  pool_->shutdown();
  pool_.reset();
}

void HttpServer::handOn(std::unique_ptr<HttpConnection> connection, bool tooLarge) {
  std::shared_ptr<HttpConnection> shared = std::move(connection);
  bool taken = pool_->enqueue([this, shared, tooLarge] {
    if (tooLarge)
      shared->sayOnce(cannedAnswer("431 Request Header Fields Too Large", "headers_too_large",
                                   "the headers of a request may have 32 KiB at most"));
    else
      serve(*shared);
    shared->finish();
  });
  if (!taken)
    shared->sayOnce(cannedAnswer("503 Service Unavailable", "busy", "too many requests are being answered"));
}

void HttpServer::serve(HttpConnection& connection) {
  bool closed = false;
  process_request(connection, true, closed, [&connection](httplib::Request& request) {
    // Without a length cpp-httplib would read until the peer ends its input.
    if (!request.has_header("Content-Length")) request.set_header("Content-Length", "0");
    request.ranges.clear();  // many ranges of one answer are more than the answer
    connection.expectBody(kMaxPayloadBytes);
  });
}

}  // namespace ppx
