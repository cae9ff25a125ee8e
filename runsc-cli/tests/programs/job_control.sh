# needs: bash
set -m
sleep 0.3 &
jobs | sed 's/  */ /g'
kill -STOP %1; sleep 0.1
jobs | sed 's/  */ /g'
bg %1 >/dev/null
wait %1; echo "done $?"
