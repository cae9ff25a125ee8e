#!/usr/bin/env bash
# Installs what building and testing runsc need on Debian 12 beyond Rust. Uses the package registry and nothing else.
set -euo pipefail
packages=(
  gcc libc6-dev make                                   # Rust's linker; the gcc test
  busybox-static coreutils findutils diffutils bsdutils  # programs that the tests run
  bash perl python3 git sqlite3 tar gzip bzip2 xz-utils
  nodejs openjdk-17-jdk-headless golang-go
  procps util-linux
)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
# A program that is there by other means needs no package.
have() { command -v "$1" >/dev/null 2>&1; }
wanted=()
for package in "${missing[@]}"; do
  case $package in
    nodejs) have node || wanted+=("$package") ;;
    git) have git || wanted+=("$package") ;;
    python3) have python3 || wanted+=("$package") ;;
    openjdk-17-jdk-headless) have javac || wanted+=("$package") ;;
    *) wanted+=("$package") ;;
  esac
done
if [ ${#wanted[@]} -eq 0 ]; then
  echo "everything is there"
  exit 0
fi
echo "installing: ${wanted[*]}"
if [ "$(id -u)" -ne 0 ]; then
  echo "this needs root: run it with sudo, or install these packages yourself" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
