#!/usr/bin/env bash
# Gets the real servers that the tests run against, on a bare Debian 12, and prints their versions.
#
#   scripts/ensure_registries.sh            all of them
#   scripts/ensure_registries.sh consul     some of them
#
# What Debian 12 has is installed (that takes root); what only another release has is downloaded
# from the same mirror and extracted under $REGISTRY_CACHE, where tests/conftest.py finds it.
# Running it again costs a tenth of a second. Exits with 1 if a server cannot be had.
#
# To add a server: a function `get_NAME`, a function `version_NAME`, and NAME in `all`.
set -euo pipefail

all=(consul etcd34 etcd35 zookeeper curator knot dnsmasq nginx redis)
cache=${REGISTRY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/registries}

get_consul() { extract bullseye usr/bin/consul consul; } # In no later release.
version_consul() { "$cache/bullseye/root/usr/bin/consul" version | first_line; }

get_etcd34() { install_package /usr/bin/etcd etcd-server && install_package /usr/bin/etcdctl etcd-client; }
version_etcd34() { /usr/bin/etcd --version | first_line; }

get_etcd35() { extract trixie usr/bin/etcd etcd-server; }
version_etcd35() { "$cache/trixie/root/usr/bin/etcd" --version | first_line; }

get_zookeeper() {
  # Not the package `zookeeper`, which pulls in a whole desktop Java.
  install_package /usr/share/java/zookeeper.jar libzookeeper-java &&
    install_package /usr/bin/java openjdk-17-jre-headless
}
version_zookeeper() { readlink -f /usr/share/java/zookeeper.jar; }

# A second implementation of service discovery over ZooKeeper, to read what we write.
get_curator() {
  install_package /usr/share/java/curator-x-discovery.jar libcurator-discovery-java &&
    install_package /usr/bin/javac openjdk-17-jdk-headless
}
version_curator() { readlink -f /usr/share/java/curator-x-discovery.jar; }

get_knot() { install_package /usr/sbin/knotd knot; }
version_knot() { /usr/sbin/knotd --version; }

get_dnsmasq() { install_package /usr/sbin/dnsmasq dnsmasq-base; }
version_dnsmasq() { /usr/sbin/dnsmasq --version | first_line; }

get_nginx() { install_package /usr/sbin/nginx nginx-light; }
version_nginx() { /usr/sbin/nginx -v 2>&1; }

# For the clients of `Balancer`.
get_redis() { install_package /usr/bin/redis-server redis-server; }
version_redis() { /usr/bin/redis-server --version; }

# Reads to the end: a writer whose reader has left (head -1) dies of SIGPIPE, now and then.
first_line() { sed -n 1p; }

# install_package FILE PACKAGE: install a package of this release, unless the file is there.
install_package() {
  [ -e "$1" ] && return 0
  if [ "$(id -u)" != 0 ]; then
    echo "$2 is not installed, and installing it takes root: apt-get install $2" >&2
    return 1
  fi
  without_daemons
  retry apt-get -qq update
  DEBIAN_FRONTEND=noninteractive retry apt-get install -y -qq --no-install-recommends "$2" >/dev/null
}

# extract RELEASE FILE PACKAGE...: unpack packages of another release into the cache; nothing is
# installed. apt checks the signatures against the machine's own archive keyring.
extract() {
  local release=$1 file=$2 work=$cache/$1 sources=/etc/apt/sources.list.d/debian.sources
  shift 2
  [ -x "$work/root/$file" ] && return 0
  if [ ! -e "$sources" ]; then
    echo "$sources is not there; it names the mirror to get $* from" >&2
    return 1
  fi
  mkdir -p "$work"/{lists/partial,archives/partial,etc,debs}
  awk 'BEGIN { RS = "" } NR == 1' "$sources" |
    sed -E "s/^Suites:.*/Suites: $release/; s/^Components:.*/Components: main/" \
      >"$work/etc/release.sources"
  local options=(
    -qq -o "Dir::Etc::sourcelist=$work/etc/release.sources" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work"
    -o "Dir::Cache::archives=$work/archives" -o APT::Get::List-Cleanup=0
    -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false
  )
  retry apt-get "${options[@]}" update || return 1
  (cd "$work/debs" && retry apt-get "${options[@]}" download "$@") || return 1
  rm -rf "$work/root.new"
  local package
  for package in "$work"/debs/*.deb; do dpkg-deb -x "$package" "$work/root.new" || return 1; done
  rm -rf "$work/root" "$work/lists" "$work/debs" "$work/archives" "$work"/*.bin
  mv "$work/root.new" "$work/root"
}

# Keep a machine with a running init from starting what is installed, on its default ports.
without_daemons() {
  [ -e /usr/sbin/policy-rc.d ] && return 0
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
}

retry() {
  local pause
  for pause in 3 6 0; do
    "$@" && return 0
    sleep "$pause"
  done
  return 1
}

mkdir -p "$cache"
exec 9>"$cache/.lock" && flock 9 # Two runs at once.
missing=0
for server in "${@:-${all[@]}}"; do
  if ! declare -F "get_$server" >/dev/null; then
    echo "no server $server; known are ${all[*]}" >&2
    exit 2
  fi
  if "get_$server" && version=$("version_$server"); then
    echo "$server: $version"
  else
    echo "!! $server cannot be had" >&2
    missing=1
  fi
done
exit "$missing"
