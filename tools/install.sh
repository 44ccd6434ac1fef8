#!/bin/sh
# install.sh -- finds what a part of lunawire needs and is not here, and installs it.
#
#   tools/install.sh GROUP...            install what is missing; silent when all is there
#   tools/install.sh --check GROUP...    only say what is missing; status 1 if anything is
#
# Groups: build (compile the library), chat (run the chat room), test (the specs),
# check (the longer set). LUA, CC, CPPFLAGS and PYTHON are taken from the environment.

set -eu

# group | how it is found       | apt                | dnf              | pacman            | apk            | brew
# A cell "rock:x" is installed by luarocks, "try:x" too, but things go on without it if that fails; "-" is not to be
# had from that manager.
TABLE='
build | command:cc              | gcc libc6-dev      | gcc              | gcc               | gcc musl-dev   | -
build | command:lua             | lua5.4             | lua              | lua               | lua5.4         | lua
build | header:lua.h            | liblua5.4-dev      | lua-devel        | lua               | lua5.4-dev     | lua pkgconf
build | header:openssl/ssl.h    | libssl-dev         | openssl-devel    | openssl           | openssl-dev    | openssl@3 pkgconf
build | header:zlib.h           | zlib1g-dev         | zlib-devel       | zlib              | zlib-dev       | zlib
chat  | lua:cjson               | lua-cjson          | rock:lua-cjson   | rock:lua-cjson    | rock:lua-cjson | rock:lua-cjson
chat  | lua:argparse            | lua-argparse       | rock:argparse    | rock:argparse     | rock:argparse  | rock:argparse
chat  | lua:readline            | lua-readline       | rock:readline    | rock:readline     | rock:readline  | rock:readline
chat  | lua:dbd.sqlite3         | lua-dbi-sqlite3    | sqlite-devel try:luadbi-sqlite3 | sqlite try:luadbi-sqlite3 | sqlite-dev try:luadbi-sqlite3 | try:luadbi-sqlite3
test  | lua:cqueues             | lua-cqueues        | rock:cqueues     | rock:cqueues      | rock:cqueues   | rock:cqueues
test  | lua:busted              | lua-busted         | rock:busted      | rock:busted       | rock:busted    | rock:busted
test  | command:luarocks        | luarocks           | luarocks         | luarocks          | luarocks5.4    | luarocks
test  | command:tmux            | tmux               | tmux             | tmux              | tmux           | tmux
test  | command:timeout         | coreutils          | coreutils        | coreutils         | coreutils      | coreutils
test  | command:ip              | iproute2           | iproute          | iproute2          | iproute2       | -
test  | command:node            | nodejs             | nodejs           | nodejs            | nodejs         | node
test  | command:npm             | npm ca-certificates | nodejs-npm      | npm               | npm            | node
test  | python:websockets       | python3-websockets | python3-websockets | python-websockets | py3-websockets | -
test  | command:nginx           | nginx              | nginx            | nginx             | nginx          | nginx
test  | command:haproxy         | haproxy            | haproxy          | haproxy           | haproxy        | haproxy
test  | command:tinyproxy       | tinyproxy          | tinyproxy        | tinyproxy         | tinyproxy      | tinyproxy
test  | command:microsocks      | microsocks         | -                | -                 | microsocks     | microsocks
test  | command:danted          | dante-server       | -                | dante             | dante-server   | dante
test  | command:curl            | curl               | curl             | curl              | curl           | curl
test  | command:openssl         | openssl            | openssl          | openssl           | openssl        | openssl@3
test  | command:certutil        | libnss3-tools      | nss-tools        | nss               | nss-tools      | nss
test  | browser                 | chromium           | chromium         | chromium          | chromium       | google-chrome
check | command:gcc             | gcc                | gcc libasan libubsan | gcc           | gcc            | gcc
check | command:clang           | clang              | clang            | clang             | clang          | llvm
check | fuzzer                  | libclang-rt-dev    | compiler-rt      | compiler-rt       | compiler-rt    | llvm
check | command:llvm-cov        | llvm               | llvm             | llvm              | llvm           | llvm
check | command:clang-tidy      | clang-tidy         | clang-tools-extra | clang            | clang-extra-tools | llvm
check | command:cppcheck        | cppcheck           | cppcheck         | cppcheck          | cppcheck       | cppcheck
check | command:valgrind        | valgrind           | valgrind         | valgrind          | valgrind       | -
check | command:luacheck        | lua-check          | rock:luacheck    | rock:luacheck     | rock:luacheck  | rock:luacheck
'

# --- what is here ---------------------------------------------------------------------

have() { command -v "$1" >/dev/null 2>&1; }

# The interpreter: $LUA, or the first Lua 5.4 among the usual names.
lua_command() {
  if [ -n "${LUA:-}" ]; then have "$LUA" && echo "$LUA"; return; fi
  for name in lua5.4 lua54 lua; do
    if "$name" -e 'assert(_VERSION == "Lua 5.4")' >/dev/null 2>&1; then echo "$name"; return; fi
  done
  return 1
}

found() {
  what=${1#*:}
  case $1 in
    command:cc)       cc=${CC:-cc} && have "${cc%% *}" ;;
    command:lua)      lua_command >/dev/null ;;
    command:luarocks) have luarocks || have luarocks-5.4 ;;
    command:nginx|command:haproxy|command:danted) # an ordinary PATH may lack sbin, where Debian has them
                      have "$what" || [ -x "/usr/sbin/$what" ] ;;
    command:ip)       # for network namespaces, which only Linux has; an ordinary PATH may lack sbin
                      [ "$(uname -s)" != Linux ] || have ip || [ -x /usr/sbin/ip ] || [ -x /sbin/ip ] ;;
    command:*)        have "$what" ;;
    header:*)         # shellcheck disable=SC2086
                      echo "#include <$what>" |
                        ${CC:-cc} ${CPPFLAGS:--I/usr/include/lua5.4} -E -x c - >/dev/null 2>&1 ;;
    lua:*)            interpreter=$(lua_command) &&
                        "$interpreter" -e "require '$what'" >/dev/null 2>&1 </dev/null ;;
    python:*)         for python in ${PYTHON:-} /usr/bin/python3 python3; do
                        if "$python" -c "import $what" >/dev/null 2>&1; then return 0; fi
                      done
                      return 1 ;;
    fuzzer)           # the libraries behind clang's -fsanitize=fuzzer
                      have clang &&
                        [ -n "$(find "$(clang -print-resource-dir)/" -name '*clang_rt.fuzzer*.a' 2>/dev/null)" ] ;;
    browser)          have chromium || have chromium-browser || have google-chrome ||
                        [ -d '/Applications/Google Chrome.app' ] ;;
  esac
}

# --- who can install --------------------------------------------------------------------

manager() {
  for name in apt-get dnf pacman apk brew; do
    if have "$name"; then echo "$name"; return 0; fi
  done
  echo none
}

# Prints the packages for one row of the table, given the manager.
cell() {
  case $manager in
    apt-get) echo "$apt" ;;
    dnf)     echo "$dnf" ;;
    pacman)  echo "$pacman" ;;
    apk)     echo "$apk" ;;
    brew)    echo "$brew" ;;
    *)       echo "$apt" ;;
  esac
}

trim() { echo "$1" | tr -d ' '; }

# Runs a command as root (brew: as the user), and shows it first.
as_root() {
  if [ "$manager" != brew ] && [ "$(id -u)" -ne 0 ]; then
    if ! have sudo; then
      echo "lunawire: this needs root, and there is no sudo here. As root, run:" >&2
      echo "    $*" >&2
      exit 1
    fi
    set -- sudo "$@"
  fi
  echo "+ $*"
  "$@"
}

# Debian starts a server as soon as it is installed. Those the specs use, they start themselves,
# so while we install them none is started (deb-systemd-invoke and invoke-rc.d ask this file).
policy=${POLICY:-/usr/sbin/policy-rc.d}

install_deb() {
  ours=
  case " $* " in
    *" nginx "* | *" haproxy "* | *" tinyproxy "* | *" dante-server "*)
      if [ ! -e "$policy" ]; then
        ours=yes
        trap 'as_root rm -f "$policy"' EXIT
        as_root sh -c "printf '#!/bin/sh\\nexit 101\\n' > '$policy' && chmod 755 '$policy'"
      fi ;;
  esac
  status=0
  as_root apt-get update -q || status=$?
  [ $status -ne 0 ] ||
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" || status=$?
  if [ -n "$ours" ]; then as_root rm -f "$policy"; trap - EXIT; fi
  return $status
}

install_packages() {
  case $manager in
    apt-get) install_deb "$@" ;;
    dnf)     as_root dnf install -y "$@" ;;
    pacman)  as_root pacman -Sy --needed --noconfirm "$@" ;;
    apk)     as_root apk add "$@" ;;
    brew)    as_root brew install "$@" ;;
  esac
}

install_rocks() {
  rocks=luarocks
  if have luarocks-5.4; then rocks=luarocks-5.4; fi
  if ! have "$rocks"; then
    if [ "$manager" = apk ]; then install_packages luarocks5.4 && rocks=luarocks-5.4
    else install_packages luarocks; fi
  fi
  for rock in "$@"; do as_root "$rocks" --lua-version 5.4 install "$rock"; done
}

# --- the work -----------------------------------------------------------------------------

check=
if [ "${1:-}" = --check ]; then check=yes; shift; fi
if [ $# -eq 0 ]; then echo "usage: tools/install.sh [--check] build|chat|test|check ..." >&2; exit 2; fi
for group in "$@"; do
  case $group in
    build|chat|test|check) ;;
    *) echo "tools/install.sh: no group \"$group\" (build, chat, test, check)" >&2; exit 2 ;;
  esac
done

manager=$(manager)
missing='' packages='' rocks='' tries='' by_hand=''

while IFS='|' read -r group probe apt dnf pacman apk brew; do
  group=$(trim "$group") probe=$(trim "$probe")
  case " $* " in *" $group "*) ;; *) continue ;; esac
  if [ -z "$group" ] || found "$probe"; then continue; fi
  missing="$missing $probe"
  for name in $(cell); do
    case $name in
      rock:*) rocks="$rocks ${name#rock:}" ;;
      try:*)  tries="$tries ${name#try:}" ;;
      -)      by_hand="$by_hand ${probe#*:}" ;;
      *)      case " $packages " in *" $name "*) ;; *) packages="$packages $name" ;; esac ;;
    esac
  done
done <<END
$TABLE
END

if [ -z "$missing" ]; then exit 0; fi

if [ -n "$check" ]; then
  for probe in $missing; do
    case $probe in command:cc) probe="the C compiler ${CC:-cc}" ;; esac
    echo "lunawire: ${probe#*:} is missing" >&2
  done
  echo "lunawire: needed:$packages$rocks$tries$by_hand (\`make deps\` installs what building takes)" >&2
  exit 1
fi

if [ "$manager" = none ]; then
  echo "lunawire: none of apt-get, dnf, pacman, apk, brew is here; please install by hand what" >&2
  echo "Debian calls:$packages$rocks$tries" >&2
  exit 1
fi
if [ -n "$by_hand" ]; then
  echo "lunawire: $manager does not have, please install by hand:$by_hand" >&2
fi
if [ -n "$packages" ]; then
  echo "lunawire: about to install with $manager:$packages"
  # shellcheck disable=SC2086
  install_packages $packages
fi
if [ -n "$rocks" ]; then
  echo "lunawire: about to install with luarocks:$rocks"
  # shellcheck disable=SC2086
  install_rocks $rocks
fi
if [ -n "$tries" ]; then
  echo "lunawire: about to try to install with luarocks:$tries"
  # shellcheck disable=SC2086
  install_rocks $tries || echo "lunawire: that failed; the chat room will keep what is said in memory only" >&2
fi
