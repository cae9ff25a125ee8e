# needs: busybox-static
mkdir tree && cd tree
for d in a b c; do mkdir $d; for f in 1 2 3; do busybox echo "$d $f" > $d/$f; done; done
busybox find . -type f | busybox sort
busybox grep -r "b" . | busybox sort
busybox tar cf ../t.tar . && busybox tar tf ../t.tar | busybox sort
busybox md5sum a/1 b/2 c/3
busybox cp -r a d && busybox mv d e && busybox ls -R e
busybox sed -i 's/a/z/' e/1 && busybox cat e/1
busybox awk '{s+=$2} END {print s}' a/*
busybox du -s >/dev/null && busybox wc -c */*
busybox ln -s a/1 link && busybox readlink link && busybox cat link
busybox seq 1 5 | busybox tac | busybox tr '\n' ' '; echo
busybox gzip -c a/1 | busybox gunzip -c
busybox rm -r e && busybox ls
