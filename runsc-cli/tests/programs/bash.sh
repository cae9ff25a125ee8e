# needs: bash
set -o pipefail
trap 'echo trapped USR1' USR1
kill -USR1 $$
cat <<EOF | tr a-z A-Z
here document $((6 * 7))
EOF
diff <(printf '1\n2\n') <(printf '1\n3\n'); echo "diff $?"
false | true; echo "pipefail $?"
f() { local x=$1; echo "f $x"; return 3; }
f arg; echo "status $?"
for i in {1..20}; do (exit $i); [ $? -eq $i ] || echo bad; done
arr=(one two three); echo "${arr[@]:1}" "${#arr[@]}"
sleep 0.05 & pid=$!; wait $pid; echo "waited $?"
(sleep 5; echo never) & kill $!; wait $! 2>/dev/null; echo "killed $?"
echo "abc" | while read -r line; do echo "line $line"; done
coproc CAT { cat; }; echo through >&"${CAT[1]}"; read -r back <&"${CAT[0]}"; echo "$back"
exec 3<>file; echo written >&3; exec 3>&-; cat file
( trap 'echo exiting' EXIT; exit 4 ); echo "sub $?"
timeout 0.1 sleep 5; echo "timeout $?"
ulimit -n 64; ulimit -n
printf '%s\n' {c,b,a} | sort | xargs -n1 echo item
[[ abc =~ b(c) ]] && echo "${BASH_REMATCH[1]}"
