#include "tests/custody/support.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace ppx::test {

TempDir::TempDir() {
  std::string name = (std::filesystem::temp_directory_path() / "ppx-custody-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) std::abort();
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Child& Child::operator=(Child&& other) noexcept {
  if (this != &other) {
    kill();
    pid_ = std::exchange(other.pid_, 0);
  }
  return *this;
}

Child::~Child() {
  kill();
}

Child Child::start(const std::string& program, const std::vector<std::string>& arguments,
                   const std::string& failpoints, unsigned descriptorLimit) {
  return startFile(std::string(PPX_BIN_DIR) + "/" + program, arguments, failpoints, descriptorLimit);
}

Child Child::startFile(std::string path, const std::vector<std::string>& arguments,
                       const std::string& failpoints, unsigned descriptorLimit) {
  std::vector<char*> argv{path.data()};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  std::string setting = "PPX_FAILPOINTS=" + failpoints;
  std::vector<char*> environment;
  for (char** each = environ; *each != nullptr; ++each) environment.push_back(*each);
  environment.push_back(setting.data());
  environment.push_back(nullptr);
  int pid = ::fork();
  if (pid == 0) {
    ::syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
    if (descriptorLimit != 0) {
      rlimit limit{descriptorLimit, descriptorLimit};
      ::setrlimit(RLIMIT_NOFILE, &limit);
    }
    ::execve(path.c_str(), argv.data(), environment.data());
    ::_exit(127);
  }
  return Child(pid);
}

void Child::signal(int number) const {
  if (pid_ > 0) ::kill(pid_, number);
}

void Child::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = 0;
}

int Child::wait(std::chrono::milliseconds limit) {
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  pollfd poll{pidfd.get(), POLLIN, 0};
  if (::poll(&poll, 1, static_cast<int>(limit.count())) != 1) return -1;
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = 0;
  return status;
}

bool runUntil(boost::asio::io_context& io, const std::function<bool()>& done,
              std::chrono::milliseconds limit) {
  auto end = std::chrono::steady_clock::now() + limit;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    io.restart();
    io.run_one_for(std::chrono::milliseconds(20));  // what others write to the table wakes nobody here
  }
  return true;
}

long statusKiB(int pid, const std::string& key) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(file, line);)
    if (line.rfind(key + ":", 0) == 0) return std::stol(line.substr(key.size() + 1));
  return -1;
}

std::chrono::milliseconds cpuTime(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  std::istringstream rest(text.substr(text.rfind(')') + 2));
  std::string word;
  long user = 0, system = 0;
  for (int i = 3; i <= 13; ++i) rest >> word;
  rest >> user >> system;
  return std::chrono::milliseconds((user + system) * 1000 / ::sysconf(_SC_CLK_TCK));
}

size_t openDescriptors(int pid) {
  std::error_code ignored;
  std::filesystem::directory_iterator all("/proc/" + std::to_string(pid) + "/fd", ignored);
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

custody::Record sessionRecord(uint32_t slot, uint32_t generation) {
  custody::Record record;
  record.slot = slot;
  record.generation = generation;
  record.uuidHigh = slot * 1000003ull;
  record.uuidLow = generation;
  return record;
}

UniqueFd marked(uint32_t mark) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return UniqueFd();
  UniqueFd write(ends[1]);
  [[maybe_unused]] ssize_t ignored = ::write(write.get(), &mark, sizeof(mark));
  return UniqueFd(ends[0]);
}

uint32_t readMark(int descriptor) {
  uint32_t mark = UINT32_MAX;
  [[maybe_unused]] ssize_t ignored = ::read(descriptor, &mark, sizeof(mark));
  return mark;
}

void expectGivenAtTheEnd(std::unique_ptr<CustodianPeer> worker, const custody::Record& record,
                         CustodianPeer& waiting) {
  UniqueFd one = marked(44);
  int socket[] = {one.get()};
  ASSERT_TRUE(worker->put(std::span(&record, 1), socket));
  worker.reset();
  auto given = waiting.receive();
  ASSERT_TRUE(given);
  ASSERT_EQ(given->message.head.type, custody::Type::kGive);
  EXPECT_EQ(readMark(given->descriptors.at(0).get()), 44u);
}

}  // namespace ppx::test
