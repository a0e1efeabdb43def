# Sourced by the other scripts: they run from anywhere, so they begin by going to the project's root.
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\n== %s\n' "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# What a command that needs root is put behind: nothing for root, sudo for a user.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "this needs root, and there is no sudo: $*"
  fi
}

# Compilers at once: one a core, but 2 GB of memory each (gRPC's headers), within the container's limit.
jobs() {
  local cores memory limit=/sys/fs/cgroup/memory.max
  cores=$(nproc)
  memory=$(awk '/^MemTotal:/ {print int($2 / 1024)}' /proc/meminfo)
  if [ -r $limit ] && [ "$(cat $limit)" != max ]; then
    local capped=$(($(cat $limit) >> 20))
    if [ $capped -lt "$memory" ]; then memory=$capped; fi
  fi
  local fit=$((memory / 2000))
  if [ $fit -lt 1 ]; then fit=1; fi
  if [ $fit -lt "$cores" ]; then echo $fit; else echo "$cores"; fi
}
