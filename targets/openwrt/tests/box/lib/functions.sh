# shellcheck shell=dash disable=SC1090,SC2034,SC2046,SC2154,SC3043
# As much of OpenWrt's /lib/functions.sh as packages use: UCI files are read, packages are configured.

# A function: Debian's busybox would take its own applet, whatever the path says.
logger() { # logger -t TAG -p PRIORITY MESSAGE
	echo "$4 $2: $5" >>/var/log/messages
}

option_cb() { :; }
list_cb() { :; }

config() { # config TYPE [NAME]
	CONFIG_SECTION=${2:-cfg0}
	config_set "$CONFIG_SECTION" TYPE "$1"
}

config_set() { # config_set SECTION OPTION VALUE
	eval "CONFIG_${1}_$2=\$3"
}

option() {
	config_set "$CONFIG_SECTION" "$1" "$2"
	option_cb "$1" "$2"
}

list() {
	local now
	config_get now "$CONFIG_SECTION" "$1"
	config_set "$CONFIG_SECTION" "$1" "${now:+$now }$2"
	list_cb "$1" "$2"
}

# A file of UCI is shell: the words config, option and list, and quoted values.
uci_lines() { # uci_lines PACKAGE: the lines that UCI can read; of the first that it cannot it tells, and fails
	[ -f "/etc/config/$1" ] || { echo 'uci: Entry not found' >&2; return 1; }
	awk -v quote="'" '
		/^[[:space:]]*(#|$)/ { next }
		{ wrong = "" }
		!/^[[:space:]]*(package|config|option|list)[[:space:]]/ { wrong = "invalid command" }
		gsub(quote, quote) % 2 { wrong = "unterminated " quote }
		wrong == "" { print }
		wrong != "" && !failed { failed = 1; print "uci: Parse error (" wrong ") at line " NR ", byte 0" | "cat >&2" }
		END { exit failed }' "/etc/config/$1"
}

# As the real one, which calls `uci -S`: what cannot be read is left out, and that is no failure.
config_load() {
	unset $(set | sed -n 's/^\(CONFIG_[A-Za-z0-9_]*\)=.*/\1/p')
	eval "$(uci_lines "$1" 2>/dev/null)"
	[ -f "/etc/config/$1" ]
}

config_get() { # config_get VARIABLE SECTION OPTION [DEFAULT]
	eval "$1=\${CONFIG_${2}_$3:-\$4}"
}

package_files() { # package_files PACKAGE: what it brought to /etc/init.d and /etc/uci-defaults
	grep -h "^$2" "/usr/lib/opkg/info/$1.list"
}

default_postinst() {
	local package script user
	package=$(basename "${1%.*}")
	user=$(sed -n 's/^Require-User: *//p' "/usr/lib/opkg/info/$package.control")
	user=${user%%:*}
	if [ -n "$user" ] && ! grep -q "^${user%=*}:" /etc/passwd; then
		echo "${user%=*}:x:${user#*=}:${user#*=}::/var/run:/bin/false" >>/etc/passwd
		echo "${user%=*}:x:${user#*=}:" >>/etc/group
	fi
	for script in $(package_files "$package" /etc/uci-defaults/); do
		(. "$script") && rm -f "$script"
	done
	for script in $(package_files "$package" /etc/init.d/); do
		[ "$PKG_UPGRADE" = 1 ] || "$script" enable
		"$script" start
	done
}

default_prerm() {
	local package script
	package=$(basename "${1%.*}")
	for script in $(package_files "$package" /etc/init.d/); do
		[ "$PKG_UPGRADE" = 1 ] || "$script" disable
		"$script" stop
	done
}
