#include "supervisor/service_job.h"

#include <pwd.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-login.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

namespace ppx {
namespace {

constexpr char kSystemd[] = "org.freedesktop.systemd1";
constexpr char kService[] = "org.freedesktop.systemd1.Service";
constexpr uint64_t kCallMicros = 2'000'000;

struct Free {
  void operator()(char* text) const { std::free(text); }
};
using Text = std::unique_ptr<char, Free>;

class Bus {
 public:
  Bus() {
    char* unit = nullptr;
    ofUser_ = ::sd_pid_get_user_unit(0, &unit) >= 0;
    std::free(unit);
    opened_ = ofUser_ ? ::sd_bus_open_user(&bus_) : ::sd_bus_open_system(&bus_);
    if (opened_ >= 0) ::sd_bus_set_method_call_timeout(bus_, kCallMicros);
  }
  ~Bus() {
    ::sd_bus_error_free(&error_);
    ::sd_bus_close_unref(bus_);
  }
  Bus(const Bus&) = delete;
  Bus& operator=(const Bus&) = delete;

  int opened() const { return opened_; }
  bool ofUser() const { return ofUser_; }

  // The path of the unit that this process belongs to.
  Result<std::string> ownUnit() {
    sd_bus_message* reply = nullptr;
    const char* path = nullptr;
    int code =
        ::sd_bus_call_method(bus_, kSystemd, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
                             "GetUnitByPID", &error_, &reply, "u", 0);
    if (code >= 0) code = ::sd_bus_message_read(reply, "o", &path);
    Result<std::string> out =
        code < 0 ? Result<std::string>(failed("GetUnitByPID", code)) : std::string(path);
    ::sd_bus_message_unref(reply);
    return out;
  }

  // A unit that is no service has none.
  Result<bool> isMainProcess(const std::string& unit) {
    uint32_t pid = 0;
    int code =
        ::sd_bus_get_property_trivial(bus_, kSystemd, unit.c_str(), kService, "MainPID", &error_, 'u', &pid);
    if (code == -ENXIO || ::sd_bus_error_has_name(&error_, SD_BUS_ERROR_UNKNOWN_PROPERTY) ||
        ::sd_bus_error_has_name(&error_, SD_BUS_ERROR_UNKNOWN_INTERFACE))
      return false;
    if (code < 0) return failed("MainPID", code);
    return pid == static_cast<uint32_t>(::getpid());
  }

  // Empty: it has none.
  Result<std::string> jobOf(const std::string& unit) {
    sd_bus_message* reply = nullptr;
    uint32_t id = 0;
    const char* path = nullptr;
    int code = ::sd_bus_get_property(bus_, kSystemd, unit.c_str(), "org.freedesktop.systemd1.Unit", "Job",
                                     &error_, &reply, "(uo)");
    if (code >= 0) code = ::sd_bus_message_read(reply, "(uo)", &id, &path);
    Result<std::string> out =
        code < 0 ? Result<std::string>(failed("Job", code)) : std::string(id == 0 ? "" : path);
    ::sd_bus_message_unref(reply);
    return out;
  }

  Result<std::string> text(const std::string& object, const char* interface, const char* property) {
    char* value = nullptr;
    int code =
        ::sd_bus_get_property_string(bus_, kSystemd, object.c_str(), interface, property, &error_, &value);
    Text held(value);
    if (code < 0) return failed(property, code);
    return std::string(value);
  }

 private:
  Error failed(const char* what, int code) {
    std::string asked = std::string("asking systemd for ") + what;
    return error_.message != nullptr ? Error{-code, asked + ": " + error_.message}
                                     : systemError(asked, -code);
  }

  sd_bus* bus_ = nullptr;
  sd_bus_error error_ = SD_BUS_ERROR_NULL;
  int opened_ = 0;
  bool ofUser_ = false;
};

// A process of another user could not take over what this one has.
bool isOwn(const std::string& user) {
  if (user.empty()) return ::geteuid() == 0;
  const passwd* entry = ::getpwnam(user.c_str());
  return entry != nullptr ? entry->pw_uid == ::geteuid() : user == std::to_string(::geteuid());
}

}  // namespace

bool underServiceManager() {
  return std::getenv("INVOCATION_ID") != nullptr;
}

Result<ServiceJob> serviceJob(ServiceRole role) {
  Bus bus;
  if (bus.opened() < 0) return systemError("no bus to ask systemd by", -bus.opened());
  auto unit = bus.ownUnit();
  if (!unit) return unit.error();
  if (role == ServiceRole::kMain) {
    auto isMain = bus.isMainProcess(*unit);
    if (!isMain) return isMain.error();
    if (!isMain.value()) return ServiceJob::kNone;
  }
  auto job = bus.jobOf(*unit);
  if (!job) return job.error();
  if (job->empty()) return ServiceJob::kNone;
  auto type = bus.text(*job, "org.freedesktop.systemd1.Job", "JobType");
  if (!type) return type.error();
  if (*type == "stop") return ServiceJob::kStop;
  if (bus.ofUser()) return ServiceJob::kRestart;
  auto user = bus.text(*unit, kService, "User");
  if (!user) return user.error();
  return isOwn(*user) ? ServiceJob::kRestart : ServiceJob::kStop;
}

}  // namespace ppx
