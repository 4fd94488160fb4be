# Prints what a process can see of itself and its container, one `key<TAB>value` a line.
me=/proc/$$
fact() { printf '%s\t%s\n' "$1" "$2"; }

# all but numbers of processes, sizes, what a scheduler counts, and what the machine's other processes change
sed -nE '/^(Vm|Rss|Hugetlb|FDSize|State|SigQ|Pid|Tgid|PPid|Ngid|NS[a-z]+|voluntary|nonvoluntary)/d; s/^([^:]*):[[:space:]]*(.*)/status \1\t\2/p' $me/status
# program group and session relative to the payload, terminal, nice value, policy
awk -v pid=$$ '{ sub(/^.*\) /, ""); print "stat group\t" ($3 == pid); print "stat session\t" ($4 == pid)
	print "stat terminal\t" ($5 != 0); print "stat nice\t" $17; print "stat policy\t" $39 }' $me/stat
for n in oom_score_adj timens_offsets personality coredump_filter loginuid sessionid uid_map gid_map projid_map \
	setgroups timerslack_ns attr/current attr/exec timers; do
	[ -r $me/$n ] && fact "self $n" "$(tr '\n\t' '  ' <$me/$n)"
done
tr '\0' '\n' <$me/environ | sed -E 's/^([^=]*)=(.*)/env \1\t\2/'
for n in $me/fd/*; do [ -e $n ] && fact "fd ${n##*/}" "$(stat -L -c %F $n) $(readlink $n | sed 's/:.*//; s/^\/tmp\/.*/a file/')"; done
awk '{ name = substr($0, 1, 26); sub(/ +$/, "", name); print "limit " name "\t" $(NF - 2 - (NF > 0 && $NF !~ /[a-z]/)) " " substr($0, 27, 42) }' $me/limits | sed 1d
fact 'cgroup path' "$(cat $me/cgroup | grep ^0:)"
for n in ipc mnt net pid uts cgroup user time; do fact "namespace $n" "$(readlink $me/ns/$n)"; done
fact hostname "$(hostname)"
fact domainname "$(cat /proc/sys/kernel/domainname)"
fact folder "$(pwd)"

# mounts: root, target, options, propagation without numbers, type, source, super block options
awk '{ tags = ""; n = 7; while ($n != "-") { split($n, tag, ":"); tags = tags " " tag[1]; n++ }
	count[$5]++; target = $5 (count[$5] > 1 ? "#" count[$5] : "")
	print "mount " target "\t" $4 " " $6 tags " - " $(n + 1) " " $(n + 2) " " $(n + 3)
	order = order " " $5 } END { print "mount order\t" order }' $me/mountinfo

find /dev -print | while read -r n; do
	fact "dev $n" "$(stat -c '%F %a %u:%g %t,%T' "$n") $(readlink "$n")"
done
for n in / /*; do fact "root $n" "$(stat -c '%F %a %u:%g' $n)"; done
for n in /sys/fs/cgroup/cgroup.* /sys/fs/cgroup/hugetlb.*.max; do
	case $n in *.procs | *.threads | *.stat | *.kill | *.pressure) ;; *) fact "cgroup $n" "$(cat $n 2>&1)" ;; esac
done
grep -r '' /proc/sys/net /proc/sys/fs/mqueue /proc/sys/kernel/msg* /proc/sys/kernel/sem /proc/sys/kernel/shm* 2>/dev/null |
	sed -E 's/\t/ /g; s/^\/proc\/sys\/([^:]*):/sysctl \1\t/'
for n in /proc/kcore /proc/keys /proc/sysrq-trigger /proc/bus /proc/irq /proc/sys /sys/firmware; do
	[ -e $n ] && fact "guarded $n" "$(stat -c '%F %a %t,%T' $n) $( (: >>$n) 2>&1 | sed 's/.*: //')"
done
ip -o addr 2>/dev/null | sed 's/^/net\t/'
fact 'net routes' "$(cat /proc/net/route | wc -l)"
for n in unix tcp tcp6 udp udp6 raw packet netlink ip_tables_names; do
	[ -r /proc/net/$n ] && fact "sockets $n" "$(sed 1d /proc/net/$n | wc -l)"
done
[ -t 0 ] && fact 'terminal size' "$(stty size)"
for n in /sys/class/net /dev/shm /dev/mqueue; do [ -d $n ] && fact "in $n" "$(ls -A $n | tr '\n' ' ')"; done
for n in /proc/sysvipc/*; do fact "ipc ${n##*/}" "$(sed 1d $n | wc -l)"; done
set -- /proc/[0-9]*
fact processes $#
