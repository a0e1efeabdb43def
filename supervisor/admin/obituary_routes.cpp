// GET /admin/obituaries.
#include "supervisor/admin/admin_server.h"
#include "supervisor/admin/api_values.h"
#include "supervisor/admin/obituary_book.h"

namespace ppx {

void addObituaryRoute(HttpServer& server, const AdminContext& context) {
  if (context.obituaries == nullptr) return;
  server.route("GET", "/admin/obituaries", [&context](const auto&, auto& response) {
    reply(response, 200, {{"obituaries", context.obituaries->newestFirst()}});
  });
}

}  // namespace ppx
