# needs: coreutils findutils grep sed gawk|mawk diffutils
umask 022
mkdir -p d/e/f; touch d/x d/e/y d/e/f/z; ln d/x d/hard; ln -s ../x d/e/soft
ls -1R d; stat -c '%n %F %a %h %s' d/x d/e/soft; stat -c '%n %F %a' d
find d -name '[xyz]' -printf '%p %y %m\n' | sort
find d -type f -exec basename {} \; | sort
chmod 751 d/x; stat -c %a d/x
dd if=/dev/zero bs=1k count=64 2>/dev/null | wc -c
head -c 100000 /dev/zero | tr '\0' 'a' > big; split -b 30000 big part.; ls part.*; cat part.* | cmp - big && echo same
seq 100000 | sort -rn | head -3; seq 100000 | sha256sum
cp -a d copy; diff -r d copy && echo identical
echo hello | tee one two >/dev/null; cat one two
truncate -s 12345 sparse; stat -c %s sparse
mktemp -d tmp.XXXXXX >/dev/null; ls -d tmp.* | wc -l
paste <(seq 3) <(seq 4 6); comm -12 <(seq 5) <(seq 3 8); cut -d: -f1 <<< a:b:c
touch -d '2001-02-03 04:05:06 UTC' old; TZ=UTC stat -c %y old
mv -n one two; rm -r d; test -e d || echo gone
env -i A=1 sh -c 'echo $A'; nice -n 5 true; nohup true 2>/dev/null; echo $?
mkfifo p; (echo fifo > p &) ; cat p
install -m 600 two three; stat -c %a three
date -u -d @0 +%F; id -u; printf '%05d\n' 42; expr 3 + 4; factor 60; numfmt --to=iec 1048576
