#!/bin/sh
# Sets everything up from a fresh checkout, on Debian as root, and then
#
#     sh native/setup.sh          nothing more: .venv/bin/ocirun is the installed runtime
#     sh native/setup.sh demo     runs a container through its whole life
#     sh native/setup.sh test     runs all the tests (further arguments go to pytest)
#
# PYTHON=/usr/bin/python3.12 chooses the interpreter. Doing it again costs seconds.
set -eu

cd "$(dirname "$0")/.."
goal=${1:-install}
[ $# -eq 0 ] || shift
case $goal in
install | demo | test) ;;
*)
	sed -n '2,8s/^# \{0,1\}//p' native/setup.sh >&2
	exit 2
	;;
esac

say() {
	printf '\033[1m== %s\033[0m\n' "$*" >&2
}

die() {
	printf 'setup: %s\n' "$*" >&2
	exit 1
}

# What the build needs, and what the tests need beside it: oracles, engines, the virtual machine, the other architecture.
BUILD="python3 python3-venv python3-dev gcc libc6-dev musl-tools libseccomp-dev uidmap procps"
TEST="runc crun containerd docker.io podman busybox-static debootstrap qemu-system-x86 e2fsprogs
	gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user strace iproute2 iptables util-linux libcap2-bin
	ca-certificates tar xz-utils zstd chromium"

# From Debian 13 on Docker's client is a package of its own.
if [ -r /etc/os-release ]; then
	. /etc/os-release
	case ${ID:-}:${VERSION_ID:-13} in
	debian:12) ;;
	debian:*) TEST="$TEST docker-cli" ;;
	esac
fi

[ "$(uname -s)" = Linux ] || die "ocirun runs on Linux, and this is $(uname -s)"
case $(uname -m) in
x86_64 | aarch64) ;;
*) die "x86-64 and arm64 are supported, and this is $(uname -m)" ;;
esac

packages() {
	wanted=$BUILD
	[ "$goal" != test ] || wanted="$BUILD $TEST"
	if ! command -v apt-get >/dev/null; then
		for tool in python3 cc; do
			command -v $tool >/dev/null || die "this is no Debian, so install by hand: CPython 3.11 to 3.14 with its" \
				"headers and venv, a C compiler, libseccomp's headers (libseccomp-devel), musl-gcc if there is one," \
				"newuidmap; for the tests also: $(echo $TEST)"
		done
		say "no apt-get here: taking what is installed"
		return
	fi
	missing=
	for package in $wanted; do
		# shellcheck disable=SC2016
		case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
		installed) ;;
		*) missing="$missing $package" ;;
		esac
	done
	[ -n "$missing" ] || return 0
	[ "$(id -u)" = 0 ] || die "these packages are missing, and installing them takes root: apt-get install$missing"
	say "apt-get install$missing"
	export DEBIAN_FRONTEND=noninteractive
	apt-get -q update
	# Without their recommendations, and without starting the daemons that come with the engines.
	policy=/usr/sbin/policy-rc.d
	made=
	if [ ! -e $policy ]; then
		made=$policy
		trap 'rm -f $made' EXIT
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod 755 $policy
	fi
	# shellcheck disable=SC2086
	apt-get -q -o Dpkg::Use-Pty=0 install -y --no-install-recommends $missing
	rm -f $made
	trap - EXIT
}

# A CPython that is a program, not a script that looks for one (pyenv's shims cost ten times our start), and if
# possible one that ordinary users can execute too.
interpreter() {
	if [ -n "${PYTHON:-}" ]; then
		echo "$PYTHON"
		return
	fi
	for directory in /usr/bin /usr/local/bin; do
		for minor in 13 11 12 14; do
			if [ -x "$directory/python3.$minor" ] && [ "$(head -c 4 "$directory/python3.$minor" | tail -c 3)" = ELF ]; then
				echo "$directory/python3.$minor"
				return
			fi
		done
	done
	die "no CPython 3.11 to 3.14 in /usr/bin or /usr/local/bin; say PYTHON=/path/to/python3.12 if it is elsewhere"
}

install() {
	python=$(interpreter)
	if ! [ .venv/bin/python -ef "$python" ]; then
		say "a virtual environment for $python"
		rm -rf .venv
		"$python" -m venv .venv
	fi
	say "building and installing"
	requirements="setuptools>=68 wheel cffi>=1.15 jsonschema>=4.10 pyroute2>=0.9,<0.10 jeepney>=0.9,<1"
	[ "$goal" != test ] || requirements="$requirements pytest>=7.4 pytest-timeout>=2.2 hypothesis>=6.80 mypy>=1.11 ruff>=0.6"
	# shellcheck disable=SC2086
	.venv/bin/python -m pip install --quiet --disable-pip-version-check $requirements
	rm -rf build
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --force-reinstall .
	.venv/bin/ocirun --version
}

packages
install
case $goal in
demo) exec .venv/bin/python docs/demo.py ;;
test) exec .venv/bin/pytest "$@" ;;
esac
