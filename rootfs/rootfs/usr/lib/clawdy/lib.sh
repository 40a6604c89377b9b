# shellcheck shell=sh
# What the steps of the boot share. Sourced; run by dash, as root.
# shellcheck disable=SC2034 # the steps use these
CLAWDY_LIB=/usr/lib/clawdy
CLAWDY_DATA=/var/lib/clawdy
CLAWDY_STATE=/var/lib/clawdy/state
CLAWDY_RUN=/run/clawdy
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C.UTF-8
export PATH LC_ALL
umask 077

# One line for a human, in the journal and on the console (the units say journal+console).
say() {
  printf 'clawdy: %s\n' "$*"
}

# Ends the step. The first reason is kept for the report at the end of the boot; that it can't be kept is no reason
# to go on.
closed() {
  trap - EXIT
  if install -d -m 0755 "$CLAWDY_RUN" && [ ! -e "$CLAWDY_RUN/closed" ]; then
    { printf '%s\n' "$*" >"$CLAWDY_RUN/closed.new" && chmod 0644 "$CLAWDY_RUN/closed.new" &&
      mv -f "$CLAWDY_RUN/closed.new" "$CLAWDY_RUN/closed"; } || :
  fi
  say "closed: $*"
  exit 1
}

# doing WHAT: from here on, a command that ends the script by `set -e` closes the box with WHAT as the reason. Its own
# words are in the journal.
doing() {
  CLAWDY_DOING=$*
  trap '[ "$?" -eq 0 ] || closed "$CLAWDY_DOING: failed (see the journal)"' EXIT
}

# A step's stamp: written after it has succeeded, gone with power. Later units assert it, since to systemd a unit
# that was skipped by a condition counts as started.
stamp() {
  install -d -m 0755 "$CLAWDY_RUN" "$CLAWDY_RUN/stamps"
  : >"$CLAWDY_RUN/stamps/$1"
}

unstamp() {
  rm -f "$CLAWDY_RUN/stamps/$1"
}

# store MODE PATH: standard input becomes the file's content at once or not at all, also across a power cut: written
# beside it, flushed, renamed, the directory flushed. What is there already isn't written again: the agent shares the
# partition, and one that it filled must not lock the owner out at the next boot. Hence the content waits in /run.
store() {
  store_in=$(mktemp "$CLAWDY_RUN/.store.XXXXXX") || return 1
  store_new=''
  if ! cat >"$store_in"; then
    :
  elif [ -f "$2" ] && [ ! -L "$2" ] && [ "$(stat -c '%u %a' "$2")" = "0 ${1#0}" ] && cmp -s "$store_in" "$2"; then
    rm -f "$store_in"
    return 0
  elif store_new=$(mktemp "$2.new.XXXXXX") && cat "$store_in" >"$store_new" && chmod "$1" "$store_new" &&
    sync "$store_new" && mv -f "$store_new" "$2"; then
    rm -f "$store_in"
    sync "$(dirname "$2")"
    return 0
  fi
  rm -f "$store_in" ${store_new:+"$store_new"}
  return 1
}

# alone: whoever opens, closes, or judges what is open does so one at a time, until the script ends.
alone() {
  exec 9>"$CLAWDY_RUN/front.lock"
  flock 9
}

# run_parts NAME: runs each executable of NAME.d in order. The first that fails closes the box with its last words.
run_parts() {
  for part in "$CLAWDY_LIB/$1.d"/*; do
    [ -f "$part" ] || continue
    if part_said=$("$part" 2>&1); then
      [ -z "$part_said" ] || printf '%s\n' "$part_said"
    else
      closed "${part##*/} ($1): $(printf '%s\n' "$part_said" | tail -n 1)"
    fi
  done
}
