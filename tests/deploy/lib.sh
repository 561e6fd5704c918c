# shellcheck shell=bash
# What docker-test and systemd-test share: counting, a free port, waiting, and a Debian tree to start from.
# Sourced by bash, after `cd` to the top of the repository.  Everything is kept under .ct/ so that a second run is quick.

CT=$PWD/.ct
WORK=$(mktemp -d) # the caller removes it
URL=            # of the daemon under test
passed=0 failed=0

need_root() { # need_root "$0" "$@": goes on as root, or not at all
    [ "$(id -u)" -eq 0 ] && return
    command -v sudo >/dev/null || { echo "$1: wants root, and there is no sudo" >&2; exit 1; }
    exec sudo -- "$@"
}

say() { echo "== $*"; }

check() { # check WHAT COMMAND…: counts; a failed one shows what the command printed.  No subshell: COMMAND may set variables
    local what=$1
    shift
    if "$@" >"$WORK/out" 2>&1; then
        passed=$((passed + 1))
        echo "ok    $what"
    else
        failed=$((failed + 1))
        echo "FAIL  $what"
        echo "      $*"
        sed 's/^/      /' "$WORK/out"
    fi
}

finish() { # prints the counts; fails where a check did, or none ran
    echo "$1: $passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

same() { # same GOT WANT
    [ "$1" = "$2" ] || { echo "got '$1', want '$2'"; return 1; }
}

at_most() { # at_most GOT LIMIT, decimals allowed
    awk -v got="$1" -v limit="$2" 'BEGIN { exit !(got != "" && got + 0 <= limit + 0) }' ||
        { echo "got '$1', want at most $2"; return 1; }
}

within() { # within SECONDS COMMAND…: tries until it succeeds
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { "$@"; return 1; }
        sleep 0.05
    done
}

free_port() {
    local port
    while port=$((20000 + RANDOM % 12000)); (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}

get() { curl -fsS -m 5 "$URL$1"; } # get PATH
post() { curl -fsS -m 5 "$URL$1" -d "$2"; } # post PATH JSON
next_of() { # next_of SESSION: what it says to the letter e, to the bit; looks ahead, and changes nothing
    post /predict '{"session":"'"$1"'","input":"e","top_k":3,"commit":false}' | grep -o '"outputs":.*"usage"'
}
status_of() { curl -sS -m 5 -o /dev/null -w '%{http_code}' "$@"; }

answers() { # answers TEXT COMMAND…: what it prints holds TEXT
    local text=$1 out
    shift
    out=$("$@" 2>&1) || { echo "$out"; return 1; }
    [[ $out == *"$text"* ]] || { echo "no $text in: $out"; return 1; }
}

base_tar() { # makes .ct/base.tar: Debian bookworm, minimal, from Debian's own packages
    [ -s "$CT/base.tar" ] && return
    say "debootstrap, once"
    mkdir -p "$CT"
    rm -rf "$CT/base"
    debootstrap --variant=minbase bookworm "$CT/base" >"$CT/debootstrap.log" 2>&1 ||
        { tail -5 "$CT/debootstrap.log"; return 1; }
    rm -rf "$CT"/base/var/cache/apt/archives/*.deb "$CT"/base/var/lib/apt/lists/*
    tar -C "$CT/base" -cf "$CT/base.tar.new" .
    mv "$CT/base.tar.new" "$CT/base.tar"
    rm -rf "$CT/base"
}
