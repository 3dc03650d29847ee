# shellcheck shell=dash disable=SC1090,SC2034,SC2046,SC2154,SC3043
# Stands in for procd: the functions that init scripts call write a service's description to /var/run/procd/NAME/next; a
# description that differs from the running one, or whose files do, starts the instance anew. /sbin/procd-instance runs it.

procd_note() { # procd_note WORD: what the check asks about
	echo "$1" >>"/var/run/procd/$name/events"
}

procd_open_service() {
	PROCD=/var/run/procd/$1
	rm -rf "$PROCD/next"
	mkdir -p "$PROCD/next"
}

procd_open_instance() { mkdir "$PROCD/next/instance"; }

procd_set_param() { # procd_set_param TYPE VALUE...
	local type=$1
	shift
	printf '%s\n' "$@" >"$PROCD/next/instance/$type"
}

procd_append_param() {
	local type=$1
	shift
	printf '%s\n' "$@" >>"$PROCD/next/instance/$type"
}

procd_add_jail() {
	printf '%s\n' "$@" >"$PROCD/next/instance/jail"
	: >"$PROCD/next/instance/jail.ro"
	: >"$PROCD/next/instance/jail.rw"
}

procd_add_jail_mount() { printf '%s\n' "$@" >>"$PROCD/next/instance/jail.ro"; }
procd_add_jail_mount_rw() { printf '%s\n' "$@" >>"$PROCD/next/instance/jail.rw"; }

procd_close_instance() {
	local file
	while read -r file; do
		md5sum "$file" 2>/dev/null
	done <"$PROCD/next/instance/file" >"$PROCD/next/instance/file.md5"
}

procd_add_reload_trigger() { echo "config.change $1" >>"$PROCD/next/triggers"; }

procd_close_service() {
	: >"$PROCD/next/triggers"
	service_triggers
	mv "$PROCD/next/triggers" "$PROCD/triggers"
	if [ ! -d "$PROCD/next/instance" ]; then
		procd_end
	elif procd_running "$name" && diff -r "$PROCD/instance" "$PROCD/next/instance" >/dev/null; then
		procd_note unchanged
	else
		procd_end
		mv "$PROCD/next/instance" "$PROCD/instance"
		procd_note start
		setsid /sbin/procd-instance "$name" </dev/null >/dev/null 2>&1 &
		echo $! >"$PROCD/supervisor"
	fi
	rm -rf "$PROCD/next"
}

procd_end() { # ends the instance: TERM, and KILL when its time is up
	local pid patience
	[ -d "$PROCD/instance" ] || return 0
	: >"$PROCD/halt"
	pid=$(cat "$PROCD/pid" 2>/dev/null)
	patience=$(($(cat "$PROCD/instance/term_timeout") * 10))
	[ -z "$pid" ] || kill "$pid" 2>/dev/null
	while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; do
		patience=$((patience - 1))
		[ $patience -gt 0 ] || { procd_note killed; kill -9 "$pid"; }
		usleep 100000
	done
	kill "$(cat "$PROCD/supervisor")" 2>/dev/null
	rm -rf "$PROCD/instance" "$PROCD/pid" "$PROCD/halt"
	procd_note stop
}

procd_kill() {
	PROCD=/var/run/procd/$1
	procd_end
	rm -f "$PROCD/triggers"
}

procd_running() { [ -d "/var/run/procd/$1/instance" ]; }

procd_send_signal() { # procd_send_signal SERVICE INSTANCE SIGNAL
	procd_note "signal $3"
	# Between two instances there is nobody to signal.
	[ ! -f "/var/run/procd/$1/pid" ] || kill "-$3" "$(cat "/var/run/procd/$1/pid")"
}

_procd_status() {
	if procd_running "$1"; then echo running; else echo inactive; fi
}
