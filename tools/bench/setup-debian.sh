#!/usr/bin/env bash
# Installs what runsc-bench compares with on Debian 12: runc and the programs of the workloads, by apt; and gVisor, whose program is
# called runsc as well, unpacked from the package in bookworm-backports into a directory of its own, where it disturbs nobody.
#
#   tools/bench/setup-debian.sh [DIR]        DIR for gVisor, by default target/gvisor; prints the --runtime option for it
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
dir=${1:-$here/target/gvisor}

if [ "$(id -u)" -ne 0 ]; then
  echo "this needs root: run it with sudo" >&2
  exit 1
fi
packages=(
  runc
  bash coreutils findutils grep tar gzip
  gcc libc6-dev make python3 git sqlite3
  redis-server redis-tools nginx-light wrk
)
# Programs that are there by other means need no package.
have() { command -v "$1" >/dev/null 2>&1; }
have node || packages+=(nodejs)
have javac || packages+=(openjdk-17-jdk-headless)

export DEBIAN_FRONTEND=noninteractive
# No package starts its service: redis and nginx run inside containers only.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
  trap 'rm -f $policy' EXIT
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null

if [ ! -x "$dir/usr/bin/runsc" ]; then
  mkdir -p "$dir"/apt/{lists/partial,cache/archives/partial}
  list=$dir/apt/backports.list
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm-backports main" >"$list"
  # Lists, cache and sources of its own: the system's apt never hears of backports.
  apt=(apt-get -qq -o "Dir::Etc::sourcelist=$list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$dir/apt/lists"
    -o "Dir::Cache=$dir/apt/cache" -o APT::Sandbox::User=root)
  "${apt[@]}" update
  (cd "$dir" && "${apt[@]}" download runsc/bookworm-backports && dpkg-deb -x runsc_*.deb .)
  rm -rf "$dir/apt" "$dir"/runsc_*.deb
fi
echo "--runtime runc --runtime 'gvisor=$dir/usr/bin/runsc --platform=systrap --network=none'"
