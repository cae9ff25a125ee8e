# needs: valgrind
# It runs a copy of each instruction that it finds, in texts that have been mapped some times before.
for i in 1 2 3 4 5 6 7 8; do valgrind -q ls -d /dev/null; echo $?; done
